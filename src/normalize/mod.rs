//! Raw numbers to readings: validity, decimals, scale, loop, range, canonical unit.

use crate::decode::RawBatch;
use crate::point::{DeviceId, PointId};
use crate::profile::Profile;
use crate::reading::Batch;

/// Settings of one device: its profile's fields compiled, and the point that each visible field feeds.
#[derive(Clone, Debug)]
pub struct Normalizer { /* compiled per-field scaling */ }

impl Normalizer {
    /// `points[i]` is the point of field i of the profile; `None` for a field that is hidden or left out. `calibration_overdue` puts a doubt on
    /// each good value.
    pub fn new(_device: DeviceId, _profile: &Profile, _points: &[Option<PointId>]) -> Self { todo!() }
    /// The readings of one poll. `doubt_calibration`: the device's calibration is overdue; `doubt_clock`: the box's clock is not trusted.
    pub fn normalize(&self, _raw: &RawBatch, _doubt_calibration: bool, _doubt_clock: bool) -> Batch { todo!() }
}
