//! The district's table of risk points through the binary: taken whole or not at all, and written back.

use std::path::Path;
use std::process::Output;

use crate::coverage::{DOCUMENTS, load};
use crate::recall;

fn run(folder: &Path, args: &[&str], code: i32) -> String {
    let mut all = vec!["coverage"];
    all.extend(args);
    recall::until(folder, &all, |output: &Output| output.status.code() == Some(code))
}

/// The documents without their risk points.
fn bare() -> String {
    let from = DOCUMENTS.find("[[risk_point]]").unwrap();
    let to = DOCUMENTS.find("[[device]]").unwrap();
    format!("{}{}", &DOCUMENTS[..from], &DOCUMENTS[to..])
}

const HEADS: &str = "编码,名称,类别,等级,镇街,监管单位,经度,纬度,坐标系,所需传感器,传感器,标牌,检验有效期至,起始日期,终止日期";

fn table(folder: &Path, rows: &[&str]) {
    std::fs::write(folder.join("points.csv"), format!("{HEADS}\r\n{}\r\n", rows.join("\r\n"))).unwrap();
}

const P1: &str = "P1,海棠溪调压站,燃气,4,南坪街道,gas company,106.58,29.54,CGCS2000,gas-pressure*2,one|two,东门:完好:2026/9/1,2027/5/1,2025-06-01,";
const P2: &str = "P2,弹子石调压箱,燃气,2,弹子石街道,gas company,106.6,29.58,CGCS2000,gas-pressure*1,one,,,,";

#[test]
fn a_table_is_taken_whole_and_written_back_the_same() {
    let (folder, _) = load(DOCUMENTS);
    let folder = folder.path();
    std::fs::write(folder.join("site/site.toml"), bare()).unwrap();
    table(folder, &[P1, P2]);
    let told = run(folder, &["import", "points.csv", "--check"], 0);
    assert!(told.contains("2 points: 2 new, 0 changed, 0 as before; only checked"), "{told}");
    let document = folder.join("site/risk-points.toml");
    assert!(!document.exists());
    let told = run(folder, &["import", "points.csv"], 0);
    assert!(told.contains("2 points: 2 new") && told.contains("lifeline reload"), "{told}");
    run(folder, &["export", "--output", "utf8.csv"], 0);
    run(folder, &["export", "--gbk", "--output", "gbk.csv"], 0);
    let exported = std::fs::read_to_string(folder.join("utf8.csv")).unwrap();
    assert!(
        exported.contains("2027-05-01,2025-06-01,") && exported.contains("东门:ok:2026-09-01"),
        "{exported}"
    );
    assert!(std::str::from_utf8(&std::fs::read(folder.join("gbk.csv")).unwrap()).is_err(), "it is GBK");
    for name in ["utf8.csv", "gbk.csv"] {
        let told = run(folder, &["import", name], 0);
        assert!(told.contains("2 points: 0 new, 0 changed, 2 as before"), "{name}: {told}");
    }
    // A point that moves is told, and is a change.
    table(folder, &[P1, &P2.replace("弹子石街道", "海棠溪街道")]);
    let told = run(folder, &["import", "points.csv"], 0);
    assert!(told.contains("note: points.csv:3: P2 moves from 弹子石街道 to 海棠溪街道"), "{told}");
    assert!(told.contains("0 new, 1 changed, 1 as before"), "{told}");
}

#[test]
fn a_table_with_a_mistake_changes_nothing() {
    let (folder, _) = load(DOCUMENTS);
    let folder = folder.path();
    std::fs::write(folder.join("site/site.toml"), bare()).unwrap();
    table(folder, &[P1, P2]);
    run(folder, &["import", "points.csv"], 0);
    let document = || std::fs::read_to_string(folder.join("site/risk-points.toml")).unwrap();
    let before = document();
    let refused = |rows: &[&str], want: &str| {
        table(folder, rows);
        let told = run(folder, &["import", "points.csv", "--district", "106.4,29.4,106.8,29.7"], 1);
        assert!(told.contains(want) && told.contains("nothing was taken"), "{want}: {told}");
        assert_eq!(document(), before, "{want}");
        assert_eq!(std::fs::read_dir(folder.join("site")).unwrap().count(), 2, "nothing is left behind");
    };
    refused(&[P1, P1], "error: points.csv:3: P1 stands in line 2 already");
    refused(&[P1], "error: points.csv: P2 is gone from the table");
    refused(&[P1, &P2.replace("P2", "P9")], "points.csv:3: P9 seems to be P2 under a changed code");
    refused(&[P1, &P2.replace("弹子石调压箱", "=cmd()")], "points.csv:3: `=cmd()` would be a formula");
    refused(
        &[P1, &P2.replace("106.6,", "116.6,")],
        "points.csv:3: the place 116.6, 29.58 (WGS-84) is outside",
    );
    refused(&[P1, &P2.replace(",one,", ",one|one,")], "points.csv:3: the sensor one is bound twice");
    refused(
        &[P1, &P2.replace(",one,", ",two,")],
        "points.csv:3: the sensor two is bound to P1; write also_at",
    );
    refused(&[P1, &P2.replace(",one,", ",three,")], "no device `three` is bound");
    refused(&[P1, &P2.replace("CGCS2000", "")], "a place is lon, lat and datum, all three");
    std::fs::write(folder.join("points.csv"), b"code,class\n\xC3\x28\xFF\xFF").unwrap();
    let told = run(folder, &["import", "points.csv"], 1);
    assert!(told.contains("neither UTF-8 nor GBK") && document() == before, "{told}");
}

#[test]
fn a_point_that_another_document_has_is_not_taken_over() {
    let (folder, _) = load(DOCUMENTS);
    table(folder.path(), &[P1, P2]);
    let told = run(folder.path(), &["import", "points.csv"], 1);
    assert!(told.contains("points.csv:2: P1 stands in a document already"), "{told}");
    assert!(!folder.path().join("site/risk-points.toml").exists());
}

#[test]
fn an_export_of_points_written_by_hand_comes_back() {
    let (folder, _) = load(DOCUMENTS);
    let folder = folder.path();
    run(folder, &["export", "--output", "back.csv"], 0);
    let text = std::fs::read_to_string(folder.join("back.csv")).unwrap();
    assert!(text.contains(",10m,") && text.contains(",4h,"), "{text}");
    let told = run(folder, &["import", "back.csv"], 0);
    assert!(
        told.contains("2 points stand in other documents just as they do here: they stay there"),
        "{told}"
    );
    // Another name is another text: the document has to say it.
    std::fs::write(folder.join("back.csv"), text.replace(",10m,", ",40m,")).unwrap();
    let told = run(folder, &["import", "back.csv"], 1);
    assert!(told.contains("stands in a document already"), "{told}");
}

#[test]
fn names_with_separators_come_back() {
    let (folder, _) = load(DOCUMENTS);
    let folder = folder.path();
    std::fs::write(folder.join("site/site.toml"), bare()).unwrap();
    let plate = r"东门\:二\|三\\:ok:2026-09-01";
    let heads = format!("{HEADS},原编码");
    std::fs::write(
        folder.join("points.csv"),
        format!("{heads}\n{},P\\|0\n{P2},\n", P1.replace("东门:完好:2026/9/1", plate)),
    )
    .unwrap();
    run(folder, &["import", "points.csv"], 0);
    let document = std::fs::read_to_string(folder.join("site/risk-points.toml")).unwrap();
    assert!(document.contains(r#"place = '东门:二|三\'"#), "{document}");
    run(folder, &["export", "--output", "back.csv"], 0);
    let told = run(folder, &["import", "back.csv"], 0);
    assert!(told.contains("2 points: 0 new, 0 changed, 2 as before"), "{told}");
}

#[test]
fn a_site_that_includes_from_outside_its_folder_takes_a_table() {
    let (folder, _) = load(DOCUMENTS);
    let folder = folder.path();
    let site = format!("include = [\"../common/more.toml\"]\n{}", bare());
    std::fs::write(folder.join("site/site.toml"), site).unwrap();
    table(folder, &[P1, P2]);
    let told = run(folder, &["import", "points.csv"], 1);
    assert!(told.contains("missing-include") && told.contains("nothing was taken"), "{told}");
    std::fs::create_dir(folder.join("common")).unwrap();
    std::fs::write(folder.join("common/more.toml"), "# Nothing yet.\n").unwrap();
    let told = run(folder, &["import", "points.csv"], 0);
    assert!(told.contains("2 points: 2 new"), "{told}");
}

#[test]
fn an_asset_the_days_of_needs_and_the_west_come_back() {
    let (folder, _) = load(DOCUMENTS);
    let folder = folder.path();
    std::fs::write(folder.join("site/site.toml"), bare()).unwrap();
    let heads = format!("{HEADS},asset,segment,chainage_m");
    let one = P1.replace("*2,", "*2@2025-06-01..2027-01-01|tilt@..2026-01-01,");
    let rows = [one.replace("106.58", "-0.1278") + ",pipe-7,＝A,12.5", P2.to_owned()];
    std::fs::write(folder.join("points.csv"), format!("{heads}\n{}\n", rows.join("\n"))).unwrap();
    let told = run(folder, &["import", "points.csv"], 1);
    assert!(told.contains("`＝A` would be a formula"), "{told}");
    let rows = rows.map(|row| row.replace("＝A", "south"));
    std::fs::write(folder.join("points.csv"), format!("{heads}\n{}\n", rows.join("\n"))).unwrap();
    run(folder, &["import", "points.csv"], 0);
    let document = std::fs::read_to_string(folder.join("site/risk-points.toml")).unwrap();
    for wanted in [
        "asset = { id = \"pipe-7\", segment = \"south\", chainage_m = 12.5 }",
        "min = 2, from = 2025-06-01, until = 2027-01-01",
        "min = 1, until = 2026-01-01",
        "lon = -0.1278",
    ] {
        assert!(document.contains(wanted), "{wanted}: {document}");
    }
    run(folder, &["export", "--output", "back.csv"], 0);
    let told = run(folder, &["import", "back.csv"], 0);
    assert!(told.contains("2 points: 0 new, 0 changed, 2 as before"), "{told}");
}
