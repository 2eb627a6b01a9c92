//! The table of units: one row each, rows of one quantity together, the canonical unit first.
//!
//! In: nothing. Out: [`TABLE`] and [`CANONICAL`].
//! Invariant: the first row of a quantity is 1/1 without offset; `times` and `per` are exact wherever the definition is.
//! Source: SI brochure (9th edition) for exact factors; 1 in = 25.4 mm, 1 lb = 0.45359237 kg, g = 9.80665 m/s2, conventional water and
//! mercury columns (ISO 80000-4); UCUM for the codes; gas at 20 °C and 101.325 kPa as in Chinese city gas practice.

use std::f64::consts::PI;

/// One unit: canonical = raw * times / per + offset.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name in documents.
    pub name: &'static str,
    /// The quantity's key.
    pub quantity: &'static str,
    /// The UCUM code.
    pub ucum: &'static str,
    /// Numerator of the factor.
    pub times: f64,
    /// Denominator of the factor.
    pub per: f64,
    /// Added after the factor, in the canonical unit.
    pub offset: f64,
}

const fn row(quantity: &'static str, name: &'static str, ucum: &'static str, times: f64, per: f64) -> Row {
    Row { name, quantity, ucum, times, per, offset: 0.0 }
}

/// Pounds to newton over square inch to square metre, in kPa: exact as written.
const PSI: f64 = 0.453_592_37 * 9.806_65;
const PSI_PER: f64 = 0.025_4 * 0.025_4 * 1000.0;

/// All units.
#[rustfmt::skip]
pub static TABLE: &[Row] = &[
    row("pressure", "kPa", "kPa", 1.0, 1.0),
    row("pressure", "Pa", "Pa", 1.0, 1000.0),
    row("pressure", "hPa", "hPa", 1.0, 10.0),
    row("pressure", "MPa", "MPa", 1000.0, 1.0),
    row("pressure", "mbar", "mbar", 1.0, 10.0),
    row("pressure", "bar", "bar", 100.0, 1.0),
    row("pressure", "atm", "atm", 101.325, 1.0),
    row("pressure", "psi", "[psi]", PSI, PSI_PER),
    row("pressure", "mmH2O", "mm[H2O]", 9.806_65, 1000.0),
    row("pressure", "mH2O", "m[H2O]", 9.806_65, 1.0),
    row("pressure", "inH2O", "[in_i'H2O]", 249.088_91, 1000.0),
    row("pressure", "mmHg", "mm[Hg]", 133.322_387_415, 1000.0),
    row("pressure", "kgf/cm2", "kgf/cm2", 98.066_5, 1.0),

    row("pressure_abs", "kPa-abs", "kPa{abs}", 1.0, 1.0),
    row("pressure_abs", "hPa-abs", "hPa{abs}", 1.0, 10.0),
    row("pressure_abs", "mbar-abs", "mbar{abs}", 1.0, 10.0),
    row("pressure_abs", "bar-abs", "bar{abs}", 100.0, 1.0),
    row("pressure_abs", "MPa-abs", "MPa{abs}", 1000.0, 1.0),
    row("pressure_abs", "psi-abs", "[psi]{abs}", PSI, PSI_PER),

    row("pressure_rate", "kPa/min", "kPa/min", 1.0, 1.0),
    row("pressure_rate", "kPa/s", "kPa/s", 60.0, 1.0),
    row("pressure_rate", "kPa/h", "kPa/h", 1.0, 60.0),
    row("pressure_rate", "Pa/min", "Pa/min", 1.0, 1000.0),
    row("pressure_rate", "Pa/h", "Pa/h", 1.0, 60_000.0),
    row("pressure_rate", "mbar/min", "mbar/min", 1.0, 10.0),
    row("pressure_rate", "bar/min", "bar/min", 100.0, 1.0),
    row("pressure_rate", "MPa/min", "MPa/min", 1000.0, 1.0),

    row("gas_lel", "%LEL", "%{LEL}", 1.0, 1.0),
    row("gas_lel_rate", "%LEL/min", "%{LEL}/min", 1.0, 1.0),
    row("gas_vol", "%VOL", "%{vol}", 1.0, 1.0),
    row("gas_vol_rate", "%VOL/min", "%{vol}/min", 1.0, 1.0),
    row("gas_ppm", "ppm", "[ppm]", 1.0, 1.0),
    row("gas_ppm", "ppb", "[ppb]", 1.0, 1000.0),
    row("gas_ppm_rate", "ppm/min", "[ppm]/min", 1.0, 1.0),
    row("gas_mass", "mg/m3", "mg/m3", 1.0, 1.0),
    row("gas_mass", "ug/m3", "ug/m3", 1.0, 1000.0),

    row("flow", "m3/h", "m3/h", 1.0, 1.0),
    row("flow", "m3/s", "m3/s", 3600.0, 1.0),
    row("flow", "m3/min", "m3/min", 60.0, 1.0),
    row("flow", "L/s", "L/s", 3.6, 1.0),
    row("flow", "L/min", "L/min", 60.0, 1000.0),
    row("flow", "L/h", "L/h", 1.0, 1000.0),
    row("flow_std", "Sm3/h", "m3/h{std20}", 1.0, 1.0),
    row("flow_std", "Nm3/h", "m3/h{std0}", 293.15, 273.15),
    row("volume", "m3", "m3", 1.0, 1.0),
    row("volume", "L", "L", 1.0, 1000.0),
    row("volume_std", "Sm3", "m3{std20}", 1.0, 1.0),
    row("volume_std", "Nm3", "m3{std0}", 293.15, 273.15),

    row("temperature", "degC", "Cel", 1.0, 1.0),
    Row { name: "degF", quantity: "temperature", ucum: "[degF]", times: 5.0, per: 9.0, offset: -160.0 / 9.0 },
    Row { name: "K", quantity: "temperature", ucum: "K", times: 1.0, per: 1.0, offset: -273.15 },
    row("temperature_rate", "degC/min", "Cel/min", 1.0, 1.0),
    row("temperature_rate", "degC/h", "Cel/h", 1.0, 60.0),

    row("length", "mm", "mm", 1.0, 1.0),
    row("length", "um", "um", 1.0, 1000.0),
    row("length", "cm", "cm", 10.0, 1.0),
    row("length", "m", "m", 1000.0, 1.0),
    row("length", "km", "km", 1_000_000.0, 1.0),
    row("length", "in", "[in_i]", 25.4, 1.0),
    row("length", "ft", "[ft_i]", 304.8, 1.0),

    row("length_rate", "m/s", "m/s", 1.0, 1.0),
    row("length_rate", "cm/s", "cm/s", 1.0, 100.0),
    row("length_rate", "mm/s", "mm/s", 1.0, 1000.0),
    row("length_rate", "m/min", "m/min", 1.0, 60.0),
    row("length_rate", "cm/min", "cm/min", 1.0, 6_000.0),
    row("length_rate", "mm/min", "mm/min", 1.0, 60_000.0),
    row("length_rate", "m/h", "m/h", 1.0, 3_600.0),
    row("length_rate", "cm/h", "cm/h", 1.0, 360_000.0),
    row("length_rate", "mm/h", "mm/h", 1.0, 3_600_000.0),
    row("length_rate", "cm/d", "cm/d", 1.0, 8_640_000.0),
    row("length_rate", "mm/d", "mm/d", 1.0, 86_400_000.0),
    row("length_rate", "km/h", "km/h", 1000.0, 3600.0),

    row("angle", "deg", "deg", 1.0, 1.0),
    row("angle", "mrad", "mrad", 180.0, 1000.0 * PI),
    row("angle", "rad", "rad", 180.0, PI),
    row("angle", "arcmin", "'", 1.0, 60.0),
    row("angle", "arcsec", "''", 1.0, 3600.0),
    row("angle_rate", "deg/d", "deg/d", 1.0, 1.0),
    row("angle_rate", "deg/h", "deg/h", 24.0, 1.0),
    row("angle_rate", "deg/min", "deg/min", 1440.0, 1.0),
    row("angle_rate", "deg/s", "deg/s", 86_400.0, 1.0),
    row("angle_rate", "mrad/d", "mrad/d", 180.0, 1000.0 * PI),

    row("acceleration", "milli-g", "m[g]", 1.0, 1.0),
    row("acceleration", "g", "[g]", 1000.0, 1.0),
    row("acceleration", "m/s2", "m/s2", 1000.0, 9.806_65),

    row("percent", "%", "%", 1.0, 1.0),
    row("percent_rate", "%/min", "%/min", 1.0, 1.0),
    row("humidity", "%RH", "%{RH}", 1.0, 1.0),
    row("conductivity", "uS/cm", "uS/cm", 1.0, 1.0),
    row("conductivity", "mS/cm", "mS/cm", 1000.0, 1.0),
    row("strain", "microstrain", "um/m", 1.0, 1.0),
    row("force", "kN", "kN", 1.0, 1.0),
    row("force", "N", "N", 1.0, 1000.0),
    row("mass", "kg", "kg", 1.0, 1.0),
    row("mass", "t", "t", 1000.0, 1.0),

    row("current", "mA", "mA", 1.0, 1.0),
    row("current", "A", "A", 1000.0, 1.0),
    row("voltage", "V", "V", 1.0, 1.0),
    row("voltage", "mV", "mV", 1.0, 1000.0),
    row("voltage", "kV", "kV", 1000.0, 1.0),
    row("resistance", "ohm", "Ohm", 1.0, 1.0),
    row("resistance", "kohm", "kOhm", 1000.0, 1.0),
    row("power", "W", "W", 1.0, 1.0),
    row("power", "kW", "kW", 1000.0, 1.0),
    row("energy", "kWh", "kW.h", 1.0, 1.0),
    row("energy", "Wh", "W.h", 1.0, 1000.0),
    row("frequency", "Hz", "Hz", 1.0, 1.0),
    row("frequency", "kHz", "kHz", 1000.0, 1.0),
    row("frequency", "rpm", "{rev}/min", 1.0, 60.0),
    row("signal", "dBm", "dB{mW}", 1.0, 1.0),
    row("ratio", "dB", "dB", 1.0, 1.0),

    row("time", "s", "s", 1.0, 1.0),
    row("time", "ms", "ms", 1.0, 1000.0),
    row("time", "min", "min", 60.0, 1.0),
    row("time", "h", "h", 3600.0, 1.0),
    row("time", "d", "d", 86_400.0, 1.0),

    row("count", "count", "1", 1.0, 1.0),
    row("count_rate", "count/min", "/min", 1.0, 1.0),
    row("count_rate", "count/h", "/h", 1.0, 60.0),
    row("floor", "floor", "{floor}", 1.0, 1.0),
];

/// Where a class of sensors has its own canonical unit: quantity, classes, unit.
#[rustfmt::skip]
pub static CANONICAL: &[(&str, &[&str], &str)] = &[
    ("length", &["water-level"], "cm"),
    ("length", &["water-flow"], "m"),
    ("length_rate", &["water-level"], "cm/min"),
    ("length_rate", &["rain"], "mm/h"),
    ("length_rate", &["displacement", "crack", "tilt", "soil"], "mm/d"),
    ("length_rate", &["vibration"], "mm/s"),
    ("flow", &["water-flow", "water-level", "rain"], "m3/s"),
    ("current", &["power", "elevator"], "A"),
];

/// The reference page of all units.
pub fn reference() -> String {
    use std::fmt::Write as _;
    let mut page = "# Units\n\n\
        Units of one quantity convert into each other, and into no other quantity.\n\
        Readings are kept in the first unit of their quantity, or in the one that the sensor's class has in the second table; documents may use any, also with signs of print: `m³/h`, `µS/cm`, `°C`, `kΩ`.\n\
        Kept = value x factor (+ offset). Stores and brokers have the unit by its name; `/api/v1/status` tells other systems the UCUM code of each point, too (`ucum`).\n\
        Generated from `src/unit/table.rs`.\n\n\
        | quantity | unit | factor | offset | UCUM |\n| --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in TABLE {
        let (factor, offset) = (row.times / row.per, row.offset);
        let offset = if offset.abs() > 0.0 { offset.to_string() } else { String::new() };
        let _ =
            writeln!(page, "| {} | `{}` | {factor} | {offset} | `{}` |", row.quantity, row.name, row.ucum);
    }
    page += "\n| quantity | of sensors of class | kept in |\n| --- | --- | --- |\n";
    for (quantity, classes, unit) in CANONICAL {
        let _ = writeln!(page, "| {quantity} | {} | `{unit}` |", classes.join(", "));
    }
    page
}
