//! Where a place is in WGS-84, whatever datum the document gives it in.
//!
//! In: a [`Place`]. Out: WGS-84 degrees and how sure they are, or why nobody can tell.
//! Invariant: no place changes its datum in silence: what was converted says so, and an unknown datum gives no place at all.
//! Source: CGCS2000 and WGS-84 agree within a metre (both are realisations of ITRF; plates move some centimetres a year). GCJ-02 is GB 20263's shifted
//! datum; its formula is the one that is publicly known, so that what is made of it is good to some metres and says so.

use std::f64::consts::PI;

use crate::risk::Place;

/// Degrees in WGS-84.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wgs84 {
    /// Degrees east.
    pub lon: f64,
    /// Degrees north.
    pub lat: f64,
    /// How far off the conversion may be; `None` when nothing was converted.
    pub within_m: Option<f64>,
}

/// The place in WGS-84.
///
/// # Errors
/// A datum that we don't know, in words.
///
/// ```
/// use lifeline_gateway::risk::{Place, datum};
/// let place = |datum: &str| Place { lon: 106.5652, lat: 29.5231, datum: datum.to_owned() };
/// assert_eq!(datum::wgs84(&place("WGS84")).unwrap().lon, 106.5652);
/// assert!((datum::wgs84(&place("GCJ-02")).unwrap().lon - 106.5652).abs() > 0.002, "some hundred metres");
/// assert!(datum::wgs84(&place("Beijing54")).is_err());
/// ```
pub fn wgs84(place: &Place) -> Result<Wgs84, String> {
    let (lon, lat) = (place.lon, place.lat);
    match place.datum.as_str() {
        "WGS84" => Ok(Wgs84 { lon, lat, within_m: None }),
        "CGCS2000" => Ok(Wgs84 { lon, lat, within_m: Some(1.0) }),
        "GCJ-02" => {
            let (lon, lat) = from_gcj02(lon, lat);
            Ok(Wgs84 { lon, lat, within_m: Some(10.0) })
        }
        other => Err(format!("no way from datum {other} to WGS-84")),
    }
}

/// Metres between two places, along a sphere: good to half a percent.
pub fn metres(a: Wgs84, b: Wgs84) -> f64 {
    let (from, to) = (a.lat.to_radians(), b.lat.to_radians());
    let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
    let chord = half(b.lat - a.lat) + from.cos() * to.cos() * half(b.lon - a.lon);
    2.0 * 6_371_008.8 * chord.sqrt().min(1.0).asin()
}

/// GCJ-02 of WGS-84 degrees; outside the rectangle of its use the same ones.
pub fn to_gcj02(lon: f64, lat: f64) -> (f64, f64) {
    if !(72.004..=137.8347).contains(&lon) || !(0.8293..=55.8271).contains(&lat) {
        return (lon, lat);
    }
    let (x, y) = (lon - 105.0, lat - 35.0);
    let wave = |of: f64, parts: [(f64, f64); 2]| {
        parts.iter().map(|(height, length)| height * (of / length * PI).sin()).sum::<f64>() * 2.0 / 3.0
    };
    let fine = (20.0 * (6.0 * x * PI).sin() + 20.0 * (2.0 * x * PI).sin()) * 2.0 / 3.0;
    let root = 0.1 * x * y + 0.2 * x.abs().sqrt();
    let north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + root + fine;
    let north = north + wave(y, [(20.0, 1.0), (40.0, 3.0)]) + wave(y, [(160.0, 12.0), (320.0, 30.0)]);
    let root = 0.1 * x * y + 0.1 * x.abs().sqrt();
    let east = 300.0 + x + 2.0 * y + 0.1 * x * x + root + fine;
    let east = east + wave(x, [(20.0, 1.0), (40.0, 3.0)]) + wave(x, [(150.0, 12.0), (300.0, 30.0)]);
    // Metres on the ellipsoid of Krasovsky, to degrees.
    let (radius, flat) = (6_378_245.0, 0.006_693_421_622_965_943);
    let angle = lat.to_radians();
    let bend = 1.0 - flat * angle.sin().powi(2);
    let meridian = radius * (1.0 - flat) / (bend * bend.sqrt());
    let parallel = radius / bend.sqrt() * angle.cos();
    (lon + (east / parallel).to_degrees(), lat + (north / meridian).to_degrees())
}

/// The way back: there is no closed formula, and a few steps are enough.
fn from_gcj02(lon: f64, lat: f64) -> (f64, f64) {
    let (mut east, mut north) = (lon, lat);
    for _ in 0..10 {
        let (there_lon, there_lat) = to_gcj02(east, north);
        (east, north) = (east + lon - there_lon, north + lat - there_lat);
    }
    (east, north)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pairs that several independent libraries have in their own tests.
    #[test]
    fn known_pairs() {
        for ((lat, lon), (wanted_lat, wanted_lon)) in [
            ((31.177_427_6, 121.527_210_6), (31.175_303_983_646, 121.531_541_859_215)),
            ((22.543_847, 113.912_316), (22.540_796_131_695, 113.917_176_480_836)),
            ((39.911_954, 116.377_817), (39.913_345_455_361, 116.384_047_224_557)),
        ] {
            let (there_lon, there_lat) = to_gcj02(lon, lat);
            assert!((there_lon - wanted_lon).abs() < 1e-6, "{there_lon} for {wanted_lon}");
            assert!((there_lat - wanted_lat).abs() < 1e-6, "{there_lat} for {wanted_lat}");
        }
        assert_eq!(to_gcj02(2.35, 48.85), (2.35, 48.85), "Paris is not shifted");
    }

    #[test]
    fn a_degree_of_latitude() {
        let at = |lon, lat| Wgs84 { lon, lat, within_m: None };
        assert!((metres(at(106.5, 29.0), at(106.5, 30.0)) - 111_195.0).abs() < 1.0);
        assert!(metres(at(106.5, 29.0), at(106.5, 29.0)) < 1e-6);
    }

    proptest! {
        #[test]
        fn there_and_back(lon in 97.0..123.0, lat in 21.0..50.0) {
            let (there_lon, there_lat) = to_gcj02(lon, lat);
            let place = Place { lon: there_lon, lat: there_lat, datum: "GCJ-02".to_owned() };
            let back = wgs84(&place).unwrap();
            prop_assert!((back.lon - lon).abs() < 1e-9 && (back.lat - lat).abs() < 1e-9);
        }
    }
}
