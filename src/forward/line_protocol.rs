//! stub
/// stub
pub fn reading(_c: &crate::point::Catalog, _r: &crate::reading::Reading, _o: &mut String) {}
