//! The month as one page to print: A4, Chinese with English beside, no script, nothing from elsewhere.
//!
//! In: a [`MonthView`]. Out: HTML.
//! Invariant: every text of a document is escaped; what does not fit is said to be left out.

use std::fmt::Write as _;

use crate::cli::answers::Zone;
use crate::console::month::{MonthRow, MonthView};
use crate::risk::coverage::{Rung, percent};

/// Points on the page at most: the worst first.
const POINTS_MAX: usize = 60;

const STYLE: &str = "@page{size:A4;margin:14mm 12mm}\
*{box-sizing:border-box}\
body{font:10pt/1.45 'Noto Sans CJK SC','Source Han Sans SC','Microsoft YaHei','PingFang SC',sans-serif;color:#111;max-width:186mm;margin:6mm auto}\
h1{font-size:17pt;margin:0}h2{font-size:12pt;margin:7mm 0 2mm;break-after:avoid}\
small,.en{color:#555;font-weight:400}p{margin:1mm 0}\
table{border-collapse:collapse;width:100%}thead{display:table-header-group}tr{break-inside:avoid}\
th,td{border-bottom:.3pt solid #999;padding:1mm 1.4mm;text-align:left;vertical-align:top}\
th{border-bottom:.8pt solid #111;font-size:8.5pt}td.n{text-align:right;white-space:nowrap}th.n{text-align:right}\
td small{display:block;font-size:7.5pt}.full{font-weight:700}.sign{display:flex;gap:12mm;margin-top:12mm}\
.sign div{flex:1;border-top:.5pt solid #111;padding-top:1mm}@media print{body{margin:0}}";

/// The page.
pub(crate) fn page(view: &MonthView) -> String {
    let mut text = String::new();
    let zone = Zone::named(&view.timezone);
    let month = escape(&view.month);
    let site = escape(&view.site);
    let _ = write!(
        text,
        "<!doctype html><html lang=\"zh-CN\"><head><meta charset=\"utf-8\"><title>感知设备覆盖月报 {month} {site}</title><style>{STYLE}</style></head><body>\
<h1>高风险点感知设备覆盖月报 <small>Monthly coverage of risk points</small></h1>\
<p>{site}　{month}　（{days}）　<span class=\"en\">{from} – {to}</span></p>\
<p>已过 {hours} 小时，网关有记录 {observed} 小时；无记录的时间计为未达到。<br><span class=\"en\">{hours} hours are over, {observed} were observed; nothing was reached in the rest.</span></p>",
        days = escape(&view.timezone),
        from = escape(&zone.show(&view.from)),
        to = escape(&zone.show(&view.to)),
        hours = view.hours,
        observed = view.observed,
    );
    text.push_str(
        "<h2>覆盖阶梯 <small>The ladder: hours of points on each rung / hours of points</small></h2>",
    );
    table(
        &mut text,
        view,
        &view.rows,
        &["范围<br><span class=\"en\">scope</span>", "点数<br><span class=\"en\">points</span>"],
    );
    let (good, slopes) = view.plates;
    let _ = write!(
        text,
        "<p>地灾点两处标牌完好 <span class=\"en\">landslide points with two plates in order</span>：{good}/{slopes} {}</p>",
        signed(&percent(good, slopes))
    );
    indicators(&mut text, view);
    points(&mut text, view);
    let _ = writeln!(
        text,
        "<p><small>百分比为小时之和的比值，向下取整；不足一小时的按实际时长计。颜色为监测等级，不是公共预警。<br>\
Percentages are ratios of sums of hours, rounded down; parts of hours count as parts. Colours are monitoring grades and no public warning. Made {}.</small></p>\
<div class=\"sign\"><div>制表 <span class=\"en\">made by</span></div><div>审核 <span class=\"en\">checked by</span></div><div>日期 <span class=\"en\">date</span></div></div></body></html>",
        escape(&zone.show(&view.made))
    );
    text
}

fn table(text: &mut String, view: &MonthView, rows: &[MonthRow], heads: &[&str]) {
    text.push_str("<table><thead><tr>");
    for head in heads {
        let _ = write!(text, "<th>{head}</th>");
    }
    for rung in Rung::ALL {
        let _ = write!(
            text,
            "<th class=\"n\">{}<br><span class=\"en\">{}</span></th>",
            rung.chinese(),
            rung.name()
        );
    }
    text.push_str("</tr></thead><tbody>");
    for row in rows {
        let (name, about) = match row.scope.as_str() {
            "site" => (view.site.as_str(), "全部 all"),
            "target" => ("燃气高风险点", "gas, grade 3 and above: the plan's target is 100 % installed"),
            "town" => (row.name.as_str(), "镇街 town"),
            "class" => (class(&row.name), "类别 class"),
            _ => (row.name.as_str(), row.about.as_str()),
        };
        let _ = write!(text, "<tr><td>{}<small>{}</small></td>", escape(name), escape(about));
        if row.scope != "point" {
            let _ = write!(text, "<td class=\"n\">{}</td>", row.points);
        }
        for rung in Rung::ALL {
            let share = row.percent.get(rung.name()).map_or("n/a", String::as_str);
            let full = if row.is_whole(rung) { " full" } else { "" };
            let _ = write!(
                text,
                "<td class=\"n{full}\">{}<small>{}/{}</small></td>",
                escape(&signed(share)),
                row.on(rung),
                row.hours
            );
        }
        text.push_str("</tr>");
    }
    text.push_str("</tbody></table>");
}

fn indicators(text: &mut String, view: &MonthView) {
    text.push_str(
        "<h2>指标 <small>Indicators of the plan</small></h2><table><thead><tr><th>指标<br><span class=\"en\">indicator</span></th><th>对象<br><span class=\"en\">of</span></th><th>数值<br><span class=\"en\">value</span></th><th>目标<br><span class=\"en\">target</span></th><th>未测<br><span class=\"en\">not measured</span></th></tr></thead><tbody>",
    );
    for row in &view.indicators {
        let parts = row.part.zip(row.whole).map(|(part, whole)| format!("<small>{part}/{whole}</small>"));
        let value = row.value.as_ref().map_or_else(
            || "未测 <span class=\"en\">not measured</span>".to_owned(),
            |value| format!("{} {}{}", escape(value), escape(&row.unit), parts.unwrap_or_default()),
        );
        let met = match (&row.target, row.met) {
            (None, _) => String::new(),
            (Some(target), Some(true)) => format!("{} 达到 met", escape(target)),
            (Some(target), Some(false)) => format!("<b>{} 未达到 not met</b>", escape(target)),
            (Some(target), None) if row.too_early => {
                format!("{} 尚不足一年 too early to say", escape(target))
            }
            (Some(target), None) if row.value.is_none() => format!("{} 未测 not measured", escape(target)),
            (Some(target), None) => format!("{} 无法判断 can't be told", escape(target)),
        };
        let of = if row.of == "site" { "全部 all" } else { &row.of };
        let _ = write!(
            text,
            "<tr><td>{}<small>{}</small></td><td>{}</td><td class=\"n\">{value}</td><td>{met}</td><td>{}</td></tr>",
            escape(&row.chinese),
            escape(&row.indicator),
            escape(of),
            row.not_measured.as_deref().map_or_else(String::new, note)
        );
    }
    text.push_str("</tbody></table>");
}

/// Why something is not measured, in Chinese before the English where its form is known.
fn note(english: &str) -> String {
    let number = |c: char| c.is_ascii_digit() || c == '.';
    let mut numbers =
        english.split(|c| !number(c)).filter(|text| text.contains(|c: char| c.is_ascii_digit()));
    let form: String = english
        .split(' ')
        .map(|word| if word.contains(|c: char| !number(c)) { word } else { "#" })
        .collect::<Vec<_>>()
        .join(" ");
    let (one, two) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let chinese = match form.as_str() {
        "no lift is registered" => "没有登记电梯".to_owned(),
        "# of # lifts have no rule that sees an entrapment" => format!("{two} 台电梯中 {one} 台没有困人规则"),
        "nobody was shut in" => "无人被困".to_owned(),
        "# not over yet" => format!("{one} 起尚未结束"),
        "none is registered" => "没有登记".to_owned(),
        "none of # has an `inspection_due`" => format!("{one} 个均未填检验有效期"),
        "# of # have no `inspection_due`; they count as not inspected" => {
            format!("{two} 个中 {one} 个未填检验有效期，按未检验计")
        }
        "measured # % of the time" => format!("测得 {one} % 的时间"),
        "no rule has levels for the depth of its water" => "没有分级的积水深度规则".to_owned(),
        _ => return escape(english),
    };
    format!("{} <span class=\"en\">{}</span>", escape(&chinese), escape(english))
}

fn points(text: &mut String, view: &MonthView) {
    let mut short: Vec<MonthRow> =
        view.points.iter().filter(|row| !row.is_whole(Rung::Effective)).cloned().collect();
    // Fewest effective hours first, by cross-multiplied shares; then those that are lost on lower rungs.
    short.sort_by(|a, b| {
        let each = Rung::ALL.into_iter().rev();
        let each = each.map(|rung| (a.on(rung) * b.hours).total_cmp(&(b.on(rung) * a.hours)));
        each.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then).then_with(|| a.name.cmp(&b.name))
    });
    let all = short.len();
    let _ = write!(
        text,
        "<h2>未全时有效感知的点 <small>Points not effectively watched in every hour, worst first</small></h2><p>{all} 个 <span class=\"en\">of {}</span></p>",
        view.points.len()
    );
    if all == 0 {
        return;
    }
    short.truncate(POINTS_MAX);
    table(text, view, &short, &["点 <span class=\"en\">point</span>"]);
    if all > short.len() {
        let _ = write!(
            text,
            "<p>另有 {0} 个未列出，见 CSV <span class=\"en\">{0} more are in the CSV</span></p>",
            all - short.len()
        );
    }
}

/// A hazard class in Chinese and English.
fn class(name: &str) -> &str {
    match name {
        "gas" => "燃气 gas",
        "waterlogging" => "内涝 waterlogging",
        "landslide" => "地灾 landslide",
        "elevator" => "电梯 elevator",
        other => other,
    }
}

/// `99.9 %`, and `n/a` as it is.
fn signed(percent: &str) -> String {
    if percent == "n/a" { percent.to_owned() } else { format!("{percent} %") }
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_measured_is_told_in_both_languages() {
        let told = note("2 of 5 have no `inspection_due`; they count as not inspected");
        assert!(told.starts_with("5 个中 2 个未填检验有效期，按未检验计 <span"), "{told}");
        assert!(note("none of 7 has an `inspection_due`").starts_with("7 个均未填检验有效期 "));
        assert!(note("measured 12.3 % of the time").starts_with("测得 12.3 % 的时间 "));
        assert_eq!(note("a < b"), "a &lt; b");
    }
}
