//! Heads of tables that people keep in a spreadsheet, in English or Chinese, and the days in their cells.
//!
//! In: the texts of a table's first row; a cell. Out: the keys that the columns stand for, or one sentence about all heads that stand for
//! none; a day as `2026-09-01`.
//! Invariant: a head that is not here is said with the nearest one, and never guessed.

use jiff::civil::Date;

use crate::site::section::nearest;

/// The keys of a device, with what Chinese spreadsheets call them.
pub(crate) const DEVICE: [(&str, &str); 21] = [
    ("name", "名称"),
    ("template", "模板"),
    ("slaves", "从站范围"),
    ("line", "线路"),
    ("profile", "型号"),
    ("firmware", "固件版本"),
    ("every", "采集周期"),
    ("slave", "站号"),
    ("timeout", "超时"),
    ("every_in_alarm", "告警采集周期"),
    ("stale_after", "失效时限"),
    ("calibration_due", "校准有效期至"),
    ("class", "类别"),
    ("points", "测点"),
    ("allow", "允许写入"),
    ("risk_point", "风险点"),
    ("also_at", "其他风险点"),
    ("installed", "安装日期"),
    ("removed", "拆除日期"),
    ("datum", "基准"),
    ("tags", "标签"),
];

/// Keys of a device that take a day.
pub(crate) const DAYS: [&str; 3] = ["calibration_due", "installed", "removed"];

/// The key of a head, with its inner key: `标签.place` is `tags.place`.
pub(crate) fn key(head: &str, columns: &[(&'static str, &str)]) -> Option<String> {
    let (of, inner) = head.split_once('.').map_or((head, None), |(of, inner)| (of, Some(inner)));
    let lower = of.trim().to_lowercase();
    let (key, _) = columns.iter().find(|(key, chinese)| lower == *key || lower == *chinese)?;
    Some(inner.map_or_else(|| (*key).to_owned(), |inner| format!("{key}.{}", inner.trim())))
}

/// One sentence about the heads that stand for no column; `None` when each does.
pub(crate) fn wrong<'h>(
    heads: impl Iterator<Item = &'h str>,
    columns: &[(&'static str, &str)],
) -> Option<String> {
    let known = || columns.iter().flat_map(|(key, chinese)| [*key, *chinese]);
    let told: Vec<String> = heads
        .filter(|head| !head.is_empty() && key(head, columns).is_none())
        .map(|head| match nearest(head, known()) {
            Some(help) => format!("`{head}` ({help})"),
            None => format!("`{head}`"),
        })
        .collect();
    let no = if told.len() == 1 { "there is no column" } else { "there are no columns" };
    (!told.is_empty()).then(|| format!("{no} {}", told.join(", ")))
}

/// All columns, for a person.
pub(crate) fn all(columns: &[(&'static str, &str)]) -> String {
    columns.iter().map(|(key, chinese)| format!("{key} {chinese}")).collect::<Vec<_>>().join(", ")
}

/// `2026-09-01`, `2026/9/1`, `2026.9.1` and `2026年9月1日` as the first of them; `None` for what is no day.
pub(crate) fn day(text: &str) -> Option<String> {
    let parts: Vec<&str> = text
        .split(['-', '/', '.', '年', '月', '日'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    let [year, month, day] = parts.as_slice() else { return None };
    let number = |text: &str| text.parse::<i8>().ok();
    let year = Some(year).filter(|year| year.len() == 4)?.parse::<i16>().ok()?;
    Date::new(year, number(month)?, number(day)?).ok().map(|date| date.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::schema::{Kind, schema};

    #[test]
    fn each_key_of_a_device_is_a_column() {
        let schema = schema(Kind::Site).to_string();
        for (key, _) in DEVICE {
            assert!(schema.contains(&format!("\"{key}\"")), "{key} is no key of a device");
        }
    }

    #[test]
    fn heads_and_days_of_spreadsheets() {
        assert_eq!(key("站号", &DEVICE).as_deref(), Some("slave"));
        assert_eq!(key("标签.place", &DEVICE).as_deref(), Some("tags.place"));
        let told = wrong(["name", "slaave", "颜色"].into_iter(), &DEVICE).unwrap();
        assert_eq!(told, "there are no columns `slaave` (did you mean `slave`?), `颜色`");
        for text in ["2025-03-01", "2025/3/1", "2025年3月1日", "2025.3.1"] {
            assert_eq!(day(text).as_deref(), Some("2025-03-01"), "{text}");
        }
        for text in ["2025-02-30", "25-3-1", "2025-3", "soon"] {
            assert_eq!(day(text), None, "{text}");
        }
    }
}
