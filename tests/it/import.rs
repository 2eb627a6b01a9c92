//! `lifeline import`: both kinds of files through the real program, the check, and a poll of a server that is not ours.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use tokio_modbus::prelude::*;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};

/// A device whose registers are the same in both tables: a float at 2, the same with its words exchanged at 4, then whole numbers.
#[derive(Clone)]
struct Fixed;

impl tokio_modbus::server::Service for Fixed {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let cells = |from: u16, count: u16| {
            let cell = |at| match at {
                2 | 5 => 0x4049,
                3 | 4 => 0x0FDB,
                8 => 0xFF9C,
                12 => 0x0808,
                _ => 0,
            };
            (from..from + count).map(cell).collect()
        };
        std::future::ready(match request.request {
            Request::ReadHoldingRegisters(from, count) => {
                Ok(Response::ReadHoldingRegisters(cells(from, count)))
            }
            Request::ReadInputRegisters(from, count) => Ok(Response::ReadInputRegisters(cells(from, count))),
            Request::ReadDiscreteInputs(_, count) => {
                Ok(Response::ReadDiscreteInputs(vec![true; count.into()]))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

fn serve() -> std::net::SocketAddr {
    let (to, from) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            to.send(listener.local_addr().unwrap()).unwrap();
            let on_connected = |stream, address| async move {
                accept_tcp_connection(stream, address, move |_| Ok(Some(Fixed)))
            };
            Server::new(listener).serve(&on_connected, |_| ()).await.unwrap();
        });
    });
    from.recv().unwrap()
}

fn lifeline(args: &[&str]) -> (Option<i32>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_lifeline")).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout) + &text(done.stderr))
}

/// The remarks, without the folder of the file; held against what is expected.
fn remarks(out: &str, folder: &Path, expected: &str) {
    let own: Vec<String> = out
        .lines()
        .filter(|line| !line.starts_with("wrote ") && !line.starts_with("next: "))
        .map(|line| line.replace(&format!("{}/", folder.display()), ""))
        .collect();
    let text = own.join("\n") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(expected, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(expected).unwrap());
}

fn checked(site: &str, devices: &str) {
    let (code, out) = lifeline(&["check", "--site", site, "--profiles", "firmware-profiles"]);
    assert!(code == Some(0) && out.contains(devices) && out.contains("0 errors"), "{out}");
}

/// What `lifeline read` says of a device by its imported profile.
fn polled(site: &str, line: &str, slave: &str, profile: &str) -> String {
    let (code, out) = lifeline(&[
        "read",
        line,
        "--slave",
        slave,
        "--profile",
        profile,
        "--site",
        site,
        "--profiles",
        "firmware-profiles",
    ]);
    assert_eq!(code, Some(0), "{out}");
    out
}

/// Whether a line begins with a point's name and shows its value.
fn shows(out: &str, point: &str, value: &str) {
    let found = out.lines().find(|line| line.split_whitespace().any(|word| word == point));
    assert!(found.is_some_and(|line| line.contains(value)), "{point} {value}:\n{out}");
}

#[test]
fn a_table_of_points_in_gbk_becomes_a_site_that_polls() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("site");
    let site = to.to_str().unwrap();
    let server = serve().to_string();
    let (line, name) = (format!("一号总线={server}"), format!("tcp-{}", server.replace(['.', ':'], "-")));
    let import = |more: &[&str]| {
        let args =
            ["import", "tests/import/points.csv", "--out", site, "--class", "gas-pressure", "--line", &line];
        lifeline(&[&args[..], more].concat())
    };
    let (code, out) = import(&[]);
    assert_eq!(code, Some(1), "something was left out: {out}");
    remarks(&out.replace(&name, "tcp-SERVER"), Path::new("tests/import"), "tests/import/points.expected");
    checked(site, "1 line, 2 devices");
    assert!(out.contains(&format!("next: lifeline check --site {site}")), "{out}");
    let mut done = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    let done = done.args(["check", "--site", site]).current_dir(folder.path()).output().unwrap();
    assert!(done.status.success(), "as printed, without the library: {done:?}");
    let document = std::fs::read_to_string(to.join("site.toml")).unwrap();
    assert!(document.contains(&format!("# 一号总线\n[[line]]\nname = \"{name}\"")), "{document}");
    let pressures = polled(site, &name, "1", &format!("points-{name}-slave-1"));
    shows(&pressures, "outlet-pressure", " 3.14");
    shows(&pressures, "inlet-pressure", " 3.14");
    shows(&pressures, "temperature", "-10.0");
    let door = polled(site, &name, "2", &format!("points-{name}-slave-2"));
    shows(&door, "door", "1");
    shows(&door, "count", "2056");

    let (code, out) = import(&[]);
    assert!(code == Some(1) && out.contains("site.toml is there already; nothing was written"), "{out}");
    let before = std::fs::read_to_string(to.join("site.toml")).unwrap();
    std::fs::write(to.join("site.toml"), "# mine\n").unwrap();
    assert!(import(&["--force"]).1.contains("wrote "));
    assert_eq!(std::fs::read_to_string(to.join("site.toml")).unwrap(), before);
}

#[test]
fn telegraf_in_both_styles_becomes_a_site_that_polls() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("telegraf.conf");
    let server = serve().to_string();
    let text = std::fs::read_to_string("tests/import/telegraf.conf").unwrap();
    std::fs::write(&file, text.replace("plc.example:502", &server)).unwrap();
    let to = folder.path().join("site");
    let site = to.to_str().unwrap();
    let (code, out) = lifeline(&["import", file.to_str().unwrap(), "--out", site]);
    assert_eq!(code, Some(1), "something was left out: {out}");
    remarks(&out, folder.path(), "tests/import/telegraf.expected");
    checked(site, "1 line, 3 devices");
    let line = format!("tcp-{}", server.replace(['.', ':'], "-"));
    let pump = polled(site, &line, "1", "telegraf-pump-station");
    shows(&pump, "outlet-pressure", " 3.14");
    shows(&pump, "temperature", "-10.0");
    shows(&pump, "count", "2056");
    shows(&pump, "door", "1");
    let meter = polled(site, &line, "7", "telegraf-meter-7");
    shows(&meter, "power", " 3.14");
    shows(&meter, "temperature", "-10.0");
    shows(&polled(site, &line, "8", "telegraf-meter-8"), "alarm", "1");
    let written = std::fs::read_to_string(to.join("site.toml")).unwrap();
    for wanted in [
        "every = \"20s\"",
        "every = \"5s\"",
        "timeout = \"2s\"",
        "building = \"north\"",
        "owner = \"water works\"",
    ] {
        assert!(written.contains(wanted), "{wanted}:\n{written}");
    }
}

#[test]
fn what_carries_nothing_over_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("site");
    for text in ["", "a,b\n1,2\n", "[[inputs.modbus]]\n", "register,type\n7,u16\n", "\u{0}\u{1}"] {
        let file = folder.path().join("file");
        std::fs::write(&file, text).unwrap();
        let (code, out) = lifeline(&["import", file.to_str().unwrap(), "--out", to.to_str().unwrap()]);
        assert!(code == Some(1) && out.contains("nothing was written"), "{text:?}: {out}");
        assert!(!to.exists());
    }
}

/// A table or configuration that is imported in full or in part: what is told, and the documents.
fn carried(name: &str, text: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (file, to) = (folder.path().join(name), folder.path().join("site"));
    std::fs::write(&file, text).unwrap();
    let (_, out) = lifeline(&["import", file.to_str().unwrap(), "--out", to.to_str().unwrap()]);
    let mut texts = std::fs::read_to_string(to.join("site.toml")).unwrap_or_default();
    for entry in std::fs::read_dir(to.join("profiles")).into_iter().flatten() {
        texts += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    (out, texts)
}

/// Hosts and ports of two columns, in any order of the rows.
#[test]
fn host_and_port_of_two_columns_name_the_line() {
    let rows =
        ["10.0.0.5,502,1,40001,u16,one", "10.0.0.6,502,1,40001,u16,one", "10.0.0.5,503,1,40001,u16,one"];
    let table = |order: [usize; 3]| {
        let rows = order.map(|row| rows[row]).join("\n");
        format!("IP,端口,站号,寄存器,类型,名称\n{rows}\n10.0.0.7,,1,40001,u16,one\n")
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let (out, texts) = carried("points.csv", &table(order));
        for (host, port) in [("10.0.0.5", 502), ("10.0.0.6", 502), ("10.0.0.5", 503), ("10.0.0.7", 502)] {
            let name = format!("tcp-{}-{port}", host.replace('.', "-"));
            for wanted in [
                format!("name = \"{name}\"\ntcp = \"{host}:{port}\""),
                format!("name = \"{name}-slave-1\"\nline = \"{name}\""),
            ] {
                assert!(texts.contains(&wanted), "{wanted}:\n{texts}\n{out}");
            }
        }
        assert!(out.contains("4 devices, 4 points carried over; 0 things were not"), "{out}");
    }
    let (out, texts) = carried("points.csv", "port,slave,register,type\n10.0.0.5:502,1,40001,u16\n");
    assert!(texts.contains("tcp = \"10.0.0.5:502\""), "a port alone is a line: {out}");
    let (out, _) = carried("points.csv", "ip,port,register,type\n10.0.0.5,COM1,40001,u16\n");
    assert!(out.contains("points.csv:2:10: this row is left out: `COM1` is no TCP port"), "{out}");
    let (out, texts) = carried("points.csv", "线路,ip,port,register,type\nnorth,10.0.0.5,503,40001,u16\n");
    assert!(texts.contains("name = \"north\"\ntcp = \"10.0.0.5:503\""), "{out}{texts}");
}

#[test]
fn a_name_that_would_get_another_address_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, to) = (folder.path().join("points.csv"), folder.path().join("site"));
    let import = |rows: &str| {
        std::fs::write(&file, format!("device,line,slave,register,type\n{rows}\n")).unwrap();
        lifeline(&["import", file.to_str().unwrap(), "--out", to.to_str().unwrap(), "--force"])
    };
    let before = "pump,10.0.0.5,1,40001,u16\nvalve,10.0.0.5,2,40001,u16";
    assert_eq!(import(before).0, Some(0));
    let (code, out) = import(before);
    assert!(code == Some(0) && !out.contains("warning"), "nothing has changed: {out}");
    let (code, out) = import("pump,10.0.0.5,2,40001,u16\nvalve,10.0.0.5,1,40001,u16");
    assert_eq!(code, Some(1), "{out}");
    let told = "warning: the device `pump` was at 10.0.0.5:502 slave 1 and is now at 10.0.0.5:502 slave 2";
    assert!(out.contains(told) && out.matches("warning: ").count() == 2, "{out}");
}

#[test]
fn intervals_are_taken_with_their_unit_in_the_head_or_in_the_cell() {
    for (head, cell, every) in [
        ("采集周期(秒)", "2", "2s"),
        ("Period (ms)", "500", "500ms"),
        ("采集周期", "500毫秒", "500ms"),
        ("采集周期（秒）", "1分钟", "1m"),
        ("interval", "2秒", "2s"),
    ] {
        let (out, texts) =
            carried("points.csv", &format!("ip,register,type,{head}\n10.0.0.5,40001,u16,{cell}\n"));
        assert!(texts.contains(&format!("every = \"{every}\"")), "{head} {cell}: {out}{texts}");
        assert!(out.contains("; 0 things were not"), "{out}");
    }
    let (out, _) = carried("points.csv", "ip,register,type,period (s)\n10.0.0.5,40001,u16,often\n");
    assert!(out.contains("`often` is no duration"), "{out}");
}

#[test]
fn names_without_plain_letters_become_places() {
    let rows = "1号泵;一号线;10.0.0.5;2;40001;u16;1号温度\n2号泵;一号线;10.0.0.5;3;40001;u16;2#\n";
    let (out, texts) = carried("points.csv", &format!("device;line;host;slave;register;type;name\n{rows}"));
    for wanted in [
        "# 一号线\n[[line]]\nname = \"tcp-10-0-0-5-502\"",
        "name = \"tcp-10-0-0-5-502-slave-2\"",
        "name = \"tcp-10-0-0-5-502-slave-3\"",
        "{ name = \"1号泵\" }",
        "name = \"1-temperature\"",
        "note = \"1号温度\"",
        "name = \"2\"",
    ] {
        assert!(texts.contains(wanted), "{wanted}: {out}{texts}");
    }
    assert!(out.contains("the line `一号线` is called `tcp-10-0-0-5-502`"), "{out}");
}

#[test]
fn titles_above_the_heads_are_skipped_and_told() {
    let rows = "设备名称,线路,站号,寄存器地址,数据类型,测点名称\npump,10.0.0.5,1,40001,u16,压力\n";
    for (title, said, line) in [
        ("南岸区燃气监测点表,,,,,\n", "`南岸区燃气监测点表`", 2),
        ("南岸区燃气监测点表\n编制: 王工; 2026-01\n\n,,,,,\n", "`南岸区燃气监测点表 编制: 王工; 2026-01`", 5),
        ("编号,SB-001,,,,\n设备清单,,,,,\n", "`编号 SB-001 设备清单`", 3),
    ] {
        let (out, texts) = carried("points.csv", &format!("{title}{rows}"));
        let told = format!("note: the heads are in line {line}; what stands above is skipped: {said}");
        assert!(out.contains("points.csv:1:1: ") && out.contains(&told), "{told}: {out}");
        assert!(out.contains("1 devices, 1 points carried over; 0 things were not"), "{out}");
        assert!(texts.contains("name = \"pump\"") && texts.contains("name = \"pressure\""), "{texts}");
    }
    let (out, texts) = carried("points.csv", &format!("点表, 2026\n{}", rows.replace(',', ";")));
    assert!(texts.contains("name = \"pump\"") && out.contains("heads are in line 2"), "{out}{texts}");
    let (out, _) = carried("points.csv", "点表\n测点名称,线路,站号\none,10.0.0.5,1\n");
    assert!(out.contains("points.csv:2:1: there is no column for the register of a point"), "{out}");
}

/// The same names and profiles come of a table whose rows are in another order.
#[test]
fn the_order_of_the_rows_names_nothing() {
    let rows = [
        "甲站,一号总线,10.0.0.5,1,40001,u16,压力",
        "甲站,一号总线,10.0.0.5,1,40002,u16,南坪压力",
        "乙站,二号总线,/dev/ttyUSB0,1,40001,u16,液位",
        "乙站,二号总线,/dev/ttyUSB0,1,40002,u16,备用",
        "丙站,三号总线,10.0.0.6,1,40001,u16,压力",
        "丙站,三号总线,10.0.0.6,1,40002,u16,南坪压力",
    ];
    let import = |order: [usize; 6]| {
        let rows = order.map(|row| rows[row]).join("\n");
        let (out, texts) = carried("points.csv", &format!("设备,线路,ip,站号,寄存器,类型,名称\n{rows}\n"));
        assert!(out.contains("3 devices, 6 points carried over; 0 things were not"), "{out}");
        let mut lines: Vec<String> = texts.lines().map(str::to_owned).collect();
        lines.sort();
        (lines, texts)
    };
    let (lines, texts) = import([0, 1, 2, 3, 4, 5]);
    assert_eq!(lines, import([5, 3, 1, 4, 2, 0]).0);
    for wanted in [
        "name = \"tcp-10-0-0-5-502-slave-1\"\nline = \"tcp-10-0-0-5-502\"",
        "name = \"ttyusb0-slave-1\"\nline = \"ttyusb0\"",
        "profile = \"points-tcp-10-0-0-5-502-slave-1\"",
        "profile = \"points-ttyusb0-slave-1\"",
        "name = \"pressure-holding-0x0001\"",
        "note = \"南坪压力\"",
    ] {
        assert!(texts.contains(wanted), "{wanted}: {texts}");
    }
    assert_eq!(texts.matches("[profile]").count(), 2, "{texts}");
}

#[test]
fn a_comma_that_may_part_thousands_is_refused() {
    let rows = "10.0.0.5;1;40001;u16;0,1;low\n10.0.0.5;1;40002;u16;1,000;high\n";
    let (out, texts) = carried("points.csv", &format!("line;slave;register;type;scale;name\n{rows}"));
    assert!(texts.contains("scale = 0.1") && !texts.contains("high"), "{texts}");
    assert!(out.contains("points.csv:3:") && out.contains("`1,000` may have a decimal comma"), "{out}");
}

#[test]
fn units_with_raised_exponents_are_taken_and_ambiguous_ones_say_what_to_write() {
    let row = |at: u8, unit: &str| format!("10.0.0.5;1;{at};holding;f32;{unit};p-{at}\n");
    let rows = row(0, "Nm³/h") + &row(2, "m³/h") + &row(4, "kgf/cm²") + &row(6, "标方/h") + &row(8, "NM3/H");
    let (out, texts) = carried("points.csv", &format!("line;slave;register;function;type;单位;name\n{rows}"));
    for unit in ["Nm3/h", "m3/h", "kgf/cm2"] {
        assert!(texts.contains(&format!("\nunit = \"{unit}\"\n")), "{unit}: {out}{texts}");
    }
    assert!(out.contains("points.csv:5:") && out.contains("`Sm3/h` or `Sm3` for volumes at 20 °C"), "{out}");
    assert!(out.contains("points.csv:6:") && out.contains("did you mean `Nm3/h`?"), "{out}");
    assert_eq!(out.matches("there is no unit").count(), 2, "{out}");
}

#[test]
fn what_a_later_row_says_otherwise_of_its_device_is_told() {
    let rows = [
        "pump;/dev/ttyUSB0;1;40001;u16;19200;20s;one",
        "pump;/dev/ttyUSB0;1;40002;u16;;;two",
        "pump;/dev/ttyUSB0;1;40003;u16;4800;20;three",
        "pump;/dev/ttyUSB0;1;40004;u16;19200 8N1;1m;four",
    ];
    let heads = "device;line;slave;register;type;speed;interval;name";
    let (out, texts) = carried("points.csv", &format!("{heads}\n{}\n", rows.join("\n")));
    assert_eq!(texts.matches("[[line]]").count(), 1, "{texts}");
    assert_eq!(texts.matches("[[point]]").count(), 4, "{texts}");
    let told: Vec<&str> = out.lines().filter(|line| line.contains("not carried over")).collect();
    assert!(told.len() == 2, "{out}");
    assert!(told[0].contains("points.csv:4:") && told[0].contains("4800 8N1 is not carried over"), "{out}");
    assert!(told[1].contains("points.csv:5:") && told[1].contains("1m is not carried over"), "{out}");
}

#[test]
fn what_a_second_input_says_otherwise_of_a_slave_is_told() {
    let input = |interval: &str, tag: &str, fields: &str| {
        format!(
            "[[inputs.modbus]]\nname = \"pump\"\nslave_id = 1\ncontroller = \"tcp://10.0.0.5:502\"\n\
            interval = \"{interval}\"\nholding_registers = [{fields}]\n[inputs.modbus.tags]\nowner = \"{tag}\"\n"
        )
    };
    let field = |name: &str, scale: &str, address: u16, more: &str| {
        format!(
            "{{ name = \"{name}\", byte_order = \"AB\", data_type = \"FIXED\", scale = {scale}, address = [{address}]{more} }},"
        )
    };
    let first = [field("level", "0.1", 1, ""), field("flow", "1.0", 2, "")].concat();
    let second = [
        field("level", "0.5", 1, ""),
        field("flow", "1.0", 2, ""),
        field("door", "1.0", 3, ", measurement = \"m\""),
    ]
    .concat();
    let (out, texts) =
        carried("telegraf.conf", &format!("{}{}", input("20s", "a", &first), input("5s", "b", &second)));
    assert_eq!(texts.matches("[[point]]").count(), 3, "{texts}");
    for wanted in [
        "polled every 20s: 5s for slave 1 is not carried over",
        "the tag owner = \"b\" of slave 1 is not carried over",
        "in another scale or order: the field `level` of slave 1 is not carried over",
        "`measurement` is not carried over",
        "; 4 things were not",
    ] {
        assert!(out.contains(wanted), "{wanted}: {out}");
    }
}
