//! Words that spreadsheets and other programs use for what we have one word for.
//!
//! In: header names, types, addresses as people write them. Out: ours. Invariant: a word that is not here is said to be unknown, and never guessed.

use crate::bus::Table;
use crate::profile::at::At;
use crate::profile::names::number;
use crate::profile::{Kind, Order};

/// Columns of a table of points, each with the names that it goes by.
pub(crate) const COLUMNS: [(&str, &[&str]); 16] = [
    ("note", &["note", "notes", "description", "remark", "comment", "备注", "描述", "说明"]),
    ("device", &["device", "device name", "equipment", "设备", "设备名", "设备名称", "仪表", "仪表名称"]),
    ("line", &["line", "bus", "channel", "connection", "线路", "总线", "通道", "串口", "链路"]),
    ("port", &["port", "tcp port", "端口", "端口号", "tcp端口"]),
    ("address", &["host", "ip", "ip address", "endpoint", "ip地址", "主机", "连接地址"]),
    ("speed", &["speed", "baud", "baud rate", "serial", "波特率", "串口参数"]),
    (
        "slave",
        &[
            "slave",
            "slave id",
            "slave address",
            "unit id",
            "station",
            "node",
            "站号",
            "从站",
            "从站号",
            "从站地址",
            "设备地址",
            "单元号",
        ],
    ),
    (
        "register",
        &[
            "register",
            "register address",
            "reg",
            "address",
            "addr",
            "寄存器",
            "寄存器地址",
            "地址",
            "点位地址",
            "起始地址",
        ],
    ),
    ("table", &["function", "function code", "fc", "table", "register type", "功能码", "寄存器类型", "区"]),
    ("type", &["type", "data type", "datatype", "format", "类型", "数据类型", "数据格式"]),
    ("order", &["order", "byte order", "字节序", "字节顺序"]),
    (
        "scale",
        &["scale", "factor", "multiplier", "gain", "倍率", "系数", "比例", "比例系数", "缩放", "缩放系数"],
    ),
    ("offset", &["offset", "bias", "偏移", "偏移量", "零点"]),
    (
        "unit",
        &[
            "unit of measure",
            "unit-of-measure",
            "uom",
            "units",
            "engineering unit",
            "单位",
            "工程单位",
            "计量单位",
        ],
    ),
    (
        "name",
        &[
            "name",
            "point",
            "point name",
            "tag",
            "signal",
            "名称",
            "点名",
            "点位",
            "点位名称",
            "测点",
            "测点名称",
            "参数",
            "参数名称",
            "变量名",
        ],
    ),
    ("every", &["every", "interval", "period", "poll", "周期", "采集周期", "采样周期", "轮询周期"]),
];

/// Our name of a column.
pub(crate) fn column(header: &str) -> Option<&'static str> {
    let header = header.trim().to_lowercase().replace(['_', '-'], " ");
    let same = |name: &&&str| name.replace('-', " ") == header;
    COLUMNS.iter().find(|(_, names)| names.iter().any(|name| same(&name))).map(|(ours, _)| *ours)
}

/// Our name of a column, also of one whose head says its unit in brackets: `采集周期(秒)`. Only where the unit is one that is known there; what
/// brackets say of a register (`(hex)`) changes its number.
pub(crate) fn headed(header: &str) -> Option<(&'static str, Option<&'static str>)> {
    if let Some(ours) = column(header) {
        return Some((ours, None));
    }
    let header = header.trim().replace(['（', '['], "(").replace(['）', ']'], ")");
    let (name, said) = header.strip_suffix(')')?.rsplit_once('(')?;
    match column(name)? {
        "every" => Some(("every", Some(time_unit(said)?))),
        "speed" => matches!(said.trim().to_lowercase().as_str(), "bps" | "baud" | "bit/s" | "波特")
            .then_some(("speed", None)),
        _ => None,
    }
}

/// A unit of time as documents write it.
fn time_unit(text: &str) -> Option<&'static str> {
    match text.trim().to_lowercase().as_str() {
        "ms" | "msec" | "millisecond" | "milliseconds" | "毫秒" => Some("ms"),
        "s" | "sec" | "secs" | "second" | "seconds" | "秒" | "秒钟" => Some("s"),
        "m" | "min" | "mins" | "minute" | "minutes" | "分" | "分钟" => Some("m"),
        "h" | "hr" | "hour" | "hours" | "时" | "小时" => Some("h"),
        "d" | "day" | "days" | "天" | "日" => Some("d"),
        _ => None,
    }
}

/// A duration as documents write it, of a cell such as `2秒`, `1 min` or a bare number of `unit`.
pub(crate) fn every(text: &str, unit: Option<&str>) -> Option<String> {
    let text = text.trim().to_lowercase();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, said) = text.split_at(digits);
    let unit = if said.is_empty() { unit.unwrap_or("s") } else { time_unit(said)? };
    let every = format!("{number}{unit}");
    crate::site::duration(&every).map(|_| every)
}

const KINDS: [(Kind, &[&str]); 13] = [
    (
        Kind::U16,
        &[
            "u16",
            "uint16",
            "ushort",
            "word",
            "unsigned",
            "unsigned short",
            "无符号16位",
            "16位无符号",
            "无符号短整型",
            "无符号整数",
        ],
    ),
    (
        Kind::I16,
        &["i16", "int16", "short", "int", "signed", "有符号16位", "16位有符号", "短整型", "有符号整数"],
    ),
    (Kind::U32, &["u32", "uint32", "dword", "ulong", "udint", "无符号32位", "32位无符号", "无符号长整型"]),
    (Kind::I32, &["i32", "int32", "long", "dint", "有符号32位", "32位有符号", "长整型"]),
    (Kind::U64, &["u64", "uint64", "无符号64位", "64位无符号"]),
    (Kind::I64, &["i64", "int64", "有符号64位", "64位有符号"]),
    (
        Kind::F32,
        &[
            "f32",
            "float",
            "float32",
            "real",
            "single",
            "浮点",
            "浮点数",
            "浮点型",
            "单精度",
            "单精度浮点",
            "32位浮点",
        ],
    ),
    (Kind::F64, &["f64", "double", "float64", "lreal", "双精度", "双精度浮点", "64位浮点"]),
    (Kind::Bool, &["bool", "boolean", "bit", "digital", "布尔", "布尔型", "开关量", "位"]),
    (Kind::U8h, &["u8h", "uint8h"]),
    (Kind::U8l, &["u8l", "uint8l"]),
    (Kind::I8h, &["i8h", "int8h"]),
    (Kind::I8l, &["i8l", "int8l"]),
];

/// A type, and the byte order that is written behind it: `float32`, `float CDAB`, `浮点数`.
pub(crate) fn kind(text: &str) -> Option<(Kind, Option<String>)> {
    let text = text.trim();
    let (word, order) = match text.rsplit_once([' ', '-', '_']) {
        Some((word, letters)) if Order::parse(&letters.to_uppercase()).is_some() => {
            (word, Some(letters.to_uppercase()))
        }
        _ => (text, None),
    };
    let word = word.trim().to_lowercase();
    let found = KINDS.iter().find(|(_, words)| words.contains(&word.as_str()));
    found.map(|(kind, _)| (*kind, order))
}

/// The table that a word or a function code reads.
pub(crate) fn table(text: &str) -> Option<Table> {
    match text.trim().to_lowercase().as_str() {
        "1" | "01" | "0x01" | "fc1" | "coil" | "coils" | "0x" | "线圈" => Some(Table::Coil),
        "2" | "02" | "0x02" | "fc2" | "discrete" | "discrete input" | "1x" | "离散输入" | "离散量" => {
            Some(Table::Discrete)
        }
        "3" | "03" | "0x03" | "fc3" | "holding" | "holding register" | "4x" | "保持寄存器" => {
            Some(Table::Holding)
        }
        "4" | "04" | "0x04" | "fc4" | "input" | "input register" | "3x" | "输入寄存器" => {
            Some(Table::Input)
        }
        _ => None,
    }
}

/// A place, and whether the table was assumed.
pub(crate) fn place(text: &str, table: Option<Table>) -> Option<(At, bool)> {
    let text = text.trim();
    if let Ok(at) = At::parse(text) {
        // A five-digit number in a column beside a function code may as well be a wire address.
        if table.is_none_or(|table| table == at.table) {
            return Some((at, false));
        }
    }
    let address = number(text).and_then(|address| u16::try_from(address).ok())?;
    Some((At { table: table.unwrap_or(Table::Holding), address }, table.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_spreadsheets() {
        assert_eq!(column("Slave_ID"), Some("slave"));
        assert_eq!(column("寄存器地址"), Some("register"));
        assert_eq!(column("unit-of-measure"), Some("unit"));
        assert_eq!(column("colour"), None);
        for (head, unit) in
            [("采集周期(秒)", "s"), ("Period (s)", "s"), ("周期（毫秒）", "ms"), ("Interval [min]", "m")]
        {
            assert_eq!(headed(head), Some(("every", Some(unit))), "{head}");
        }
        assert_eq!(headed("波特率(bps)"), Some(("speed", None)));
        for head in ["寄存器地址(十六进制)", "Period (moon)", "(s)", "Period (s"] {
            assert_eq!(headed(head), None, "{head}");
        }
        let cells = [
            ("2秒", "2s"),
            ("500毫秒", "500ms"),
            ("1分钟", "1m"),
            ("1 Min", "1m"),
            ("10", "10s"),
            ("2h", "2h"),
        ];
        for (cell, wanted) in cells {
            assert_eq!(every(cell, None).as_deref(), Some(wanted), "{cell}");
        }
        assert_eq!(every("500", Some("ms")).as_deref(), Some("500ms"));
        for cell in ["", "秒", "often", "1.5s", "-1", "99999999999999999999"] {
            assert_eq!(every(cell, Some("ms")), None, "{cell}");
        }
        assert_eq!(kind("Float_CDAB"), Some((Kind::F32, Some("CDAB".to_owned()))));
        assert_eq!(kind("UINT16"), Some((Kind::U16, None)));
        assert_eq!(kind("浮点数"), Some((Kind::F32, None)));
        assert_eq!(kind("string"), None);
        let at = |table, address| At { table, address };
        assert_eq!(place("40003", None), Some((at(Table::Holding, 2), false)));
        assert_eq!(place("0x10", Some(Table::Input)), Some((at(Table::Input, 16), false)));
        assert_eq!(place("40003", Some(Table::Input)), Some((at(Table::Input, 40003), false)));
        assert_eq!(place("2", None), Some((at(Table::Holding, 2), true)));
        assert_eq!(place("seven", None), None);
    }
}
