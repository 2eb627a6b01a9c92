//! Names of what is carried over: kebab-case, near what people wrote, and the same whatever the order of the rows.
//!
//! In: a name in any script, and the place of the thing. Out: a name that documents take.
//! Invariant: a name that says nothing in a-z becomes the thing's own address, never a number of its row.

use crate::profile::at::At;
use crate::site::import::PointDraft;
use crate::site::section::kebab;

/// What the words of a measurement are called in English; empty for words that tell nothing apart.
#[rustfmt::skip]
const TERMS: &[(&str, &str)] = &[
    ("压力", "pressure"), ("差压", "differential-pressure"), ("压差", "differential-pressure"), ("大气压", "air-pressure"),
    ("液位", "level"), ("水位", "level"), ("料位", "level"), ("水深", "depth"), ("埋深", "depth"),
    ("温度", "temperature"), ("湿度", "humidity"), ("含水率", "moisture"), ("浓度", "concentration"),
    ("倾角", "tilt"), ("倾斜", "tilt"), ("位移", "displacement"), ("沉降", "settlement"), ("裂缝", "crack"),
    ("加速度", "acceleration"), ("速度", "speed"), ("转速", "speed"), ("振动", "vibration"), ("应变", "strain"),
    ("雨量", "rain"), ("降雨量", "rain"), ("降雨", "rain"), ("流量", "flow"), ("流速", "velocity"), ("雨强", "intensity"),
    ("电压", "voltage"), ("电流", "current"), ("功率", "power"), ("频率", "frequency"), ("电池", "battery"),
    ("状态", "state"), ("故障", "fault"), ("报警", "alarm"), ("告警", "alarm"), ("信号强度", "signal"), ("信号", "signal"),
    ("运行", "running"), ("开度", "opening"), ("开关", "switch"), ("方向", "direction"), ("楼层", "floor"),
    ("水泵", "pump"), ("泵", "pump"), ("阀门", "valve"), ("阀", "valve"), ("门", "door"), ("井", "well"), ("管道", "pipe"),
    ("传感器", "sensor"), ("土壤", "soil"), ("环境", "ambient"), ("室内", "indoor"), ("室外", "outdoor"),
    ("甲烷", "methane"), ("燃气", "gas"), ("一氧化碳", "co"), ("硫化氢", "h2s"), ("氧气", "oxygen"),
    ("进口", "inlet"), ("入口", "inlet"), ("出口", "outlet"), ("上游", "upstream"), ("下游", "downstream"),
    ("累计", "total"), ("累积", "total"), ("瞬时", "instant"), ("平均", "mean"), ("最大", "max"), ("最小", "min"),
    ("分钟", "minute"), ("小时", "hour"), ("日", "day"), ("月", "month"), ("年", "year"),
    ("相", "phase"), ("轴", "axis"), ("上", "upper"), ("下", "lower"), ("左", "left"), ("右", "right"),
    ("东", "east"), ("南", "south"), ("西", "west"), ("北", "north"), ("高", "high"), ("低", "low"),
    ("一", "1"), ("二", "2"), ("三", "3"), ("四", "4"), ("五", "5"), ("六", "6"), ("七", "7"), ("八", "8"), ("九", "9"),
    ("号", ""), ("路", ""), ("的", ""), ("值", ""), ("实时", ""), ("当前", ""), ("监测", ""), ("测量", ""),
];

/// A name in a-z and digits, and whether it says all that the wanted one does; `None` where it would say nothing.
fn slug(wanted: &str) -> Option<(String, bool)> {
    // A single letter beside an unknown one is mostly a part of it: 南坪 is a place, and no south.
    let all = slug_of(wanted, 1);
    let (name, whole) = if all.1 { all } else { slug_of(wanted, 2) };
    name.bytes().any(|byte| byte.is_ascii_lowercase()).then_some((name, whole))
}

/// The same with the terms of at least so many letters.
fn slug_of(wanted: &str, letters: usize) -> (String, bool) {
    let (mut name, mut whole, mut rest) = (String::new(), true, wanted);
    while let Some(letter) = rest.chars().next() {
        let longest = TERMS
            .iter()
            .filter(|(term, _)| rest.starts_with(term) && letters <= term.chars().count())
            .max_by_key(|(term, _)| term.len());
        let length = match longest {
            Some((term, english)) => {
                name = format!("{name} {english} ");
                term.len()
            }
            None => {
                name.push(letter);
                // Punctuation of any script and blanks part words, and say nothing.
                whole &= letter.is_ascii() || !letter.is_alphanumeric();
                letter.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    (kebab(&name), whole)
}

/// A kebab-case name near the wanted one. The digits that are left of `1号泵` name nothing.
pub(crate) fn plain(wanted: &str, otherwise: &str) -> String {
    let name = kebab(wanted);
    let says = wanted.is_ascii() || name.bytes().any(|byte| byte.is_ascii_lowercase());
    if name.is_empty() || !says { otherwise.to_owned() } else { name }
}

/// The name, or the first of `name-2`, `name-3` that is not taken.
pub(crate) fn free(name: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(name) {
        return name.to_owned();
    }
    (2_u32..).map(|number| format!("{name}-{number}")).find(|name| !taken(name)).unwrap_or_default()
}

/// Gives a point its name. One in another script is put into English word by word, with its register where a word is not known or the name
/// is taken, and becomes the note; what says nothing goes by its register.
pub(crate) fn name_point(wanted: &str, at: At, points: &[PointDraft]) -> (String, Option<String>) {
    let taken = |name: &str| points.iter().any(|point| point.name == name);
    let place = at.to_string();
    let place = kebab(place.split(" (").next().unwrap_or_default());
    if wanted.is_ascii() {
        return (free(&plain(wanted, &place), taken), None);
    }
    let name = match slug(wanted) {
        None => place,
        Some((name, true)) if !taken(&name) => name,
        Some((name, _)) => format!("{name}-{place}"),
    };
    (free(&name, taken), Some(wanted.to_owned()))
}

/// A name for a line that has only an address.
pub(crate) fn line_name(to: &str) -> String {
    let short = to.strip_prefix("/dev/").unwrap_or(to);
    if to.starts_with("/dev/") { kebab(short) } else { kebab(&format!("tcp-{short}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_into_english_word_by_word() {
        for (wanted, name) in [
            ("压力", "pressure"),
            ("1号泵出口压力", "1-pump-outlet-pressure"),
            ("A相电压", "a-phase-voltage"),
            ("电池电压（V）", "battery-voltage-v"),
            ("日累计雨量", "day-total-rain"),
            ("X轴加速度", "x-axis-acceleration"),
            ("CH4浓度", "ch4-concentration"),
            ("实时液位值", "level"),
        ] {
            assert_eq!(slug(wanted), Some((name.to_owned(), true)), "{wanted}");
        }
        assert_eq!(slug("南坪压力"), Some(("pressure".to_owned(), false)));
        for wanted in ["", "2#", "三号", "备用"] {
            assert_eq!(slug(wanted), None, "{wanted}");
        }
    }

    #[test]
    fn lines_go_by_their_address() {
        assert_eq!(line_name("/dev/ttyUSB0"), "ttyusb0");
        assert_eq!(line_name("10.0.0.5:502"), "tcp-10-0-0-5-502");
    }
}
