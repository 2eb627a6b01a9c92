use super::*;
use crate::bus::Table;
use crate::profile::{Fault, Order};
use proptest::prelude::*;

fn field(kind: Kind) -> Field {
    Field::new("x", Table::Holding, 0, kind)
}

#[track_caller]
fn check(field: &Field, cells: &[u16], want: Result<f64, &str>) {
    let want = match want {
        Ok(number) => Raw::Number(number),
        Err(fault) => Raw::Fault(fault.into()),
    };
    assert_eq!(decode(field, cells), want, "{field:?} {cells:04X?}");
}

#[test]
fn a_named_bit_pattern_comes_before_nan_and_only_an_exact_one() {
    let mut float = field(Kind::F32);
    float.faults = vec![
        Fault { matches: FaultMatch::Nan, means: "inactive".into() },
        Fault { matches: FaultMatch::Raw(0x7FFF_FFFF), means: "not-fitted".into() },
        Fault { matches: FaultMatch::PlusInf, means: "overflow".into() },
    ];
    check(&float, &[0x7FFF, 0xFFFF], Err("not-fitted"));
    check(&float, &[0x7FC0, 0x0000], Err("inactive"));
    check(&float, &[0x7F80, 0x0000], Err("overflow"));
    check(&float, &[0xFF80, 0x0000], Err("-inf"));
    let mut long = field(Kind::U64);
    long.faults = vec![Fault { matches: FaultMatch::Raw((1 << 53) + 1), means: "full".into() }];
    check(&long, &[0x0020, 0, 0, 1], Err("full"));
    check(&long, &[0x0020, 0, 0, 0], Ok(9_007_199_254_740_992.0));
}

#[test]
fn bits_bools_and_states() {
    let mut bits = field(Kind::Bits { low: 8, high: 11 });
    bits.states = vec![(5, "running".into())];
    check(&bits, &[0xF5FF], Ok(5.0));
    check(&bits, &[0x0700], Err("unknown state 7"));
    let mut inverted = field(Kind::Bits { low: 4, high: 5 });
    inverted.invert = true;
    check(&inverted, &[0x0010], Ok(2.0));
    inverted.one_hot = true;
    check(&inverted, &[0x0010], Ok(1.0));
    check(&inverted, &[0x0000], Err("not one-hot"));
    let mut contact = field(Kind::Bool);
    check(&contact, &[0xFF00], Ok(1.0));
    check(&contact, &[2], Err("not a bool"));
    contact.invert = true;
    check(&contact, &[0], Ok(1.0));
    let mut wide = field(Kind::Bits { low: 16, high: 31 });
    wide.count = 2;
    check(&wide, &[0xABCD, 0x1234], Ok(43_981.0));
    let mut high = field(Kind::U8h);
    high.order = Order::parse("BA").unwrap();
    check(&high, &[0x0203], Ok(3.0));
}

#[test]
fn another_number_of_registers_is_a_fault() {
    for word in Kind::words() {
        let field = field(Kind::parse(word).unwrap());
        for count in [0, 1, 2, 3, 4, 5, 125] {
            if count != usize::from(field.count) {
                check(&field, &vec![0; count], Err("wrong register count"));
            }
        }
    }
    let mut order = field(Kind::U32);
    order.order = Order::parse("AB").unwrap();
    check(&order, &[0, 1], Err("wrong byte order"));
}

#[test]
fn text_that_spells_a_number_and_text_that_does_not() {
    let mut ascii = field(Kind::Ascii);
    ascii.count = 4;
    check(&ascii, &[0x2D31, 0x3233, 0x2E34, 0x3500], Ok(-123.45));
    for word in ["inf     ", "NaN     ", "        ", "12mm    "] {
        let cells: Vec<u16> =
            word.as_bytes().chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        check(&ascii, &cells, Err("not a number"));
    }
    assert_eq!(text(&ascii, &[0x4142, 0x0143, 0, 0]), None, "a control character is no text");
    assert_eq!(text(&field(Kind::U16), &[0x4142]), None);
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        prop::sample::select(Kind::words().filter_map(Kind::parse).collect::<Vec<_>>()),
        (any::<u8>(), any::<u8>()).prop_map(|(low, high)| Kind::Bits { low, high }),
    ]
}

proptest! {
    #[test]
    fn no_field_and_no_cells_make_it_panic(
        kind in any_kind(),
        places in prop::collection::vec(any::<u8>(), 0..9),
        cells in prop::collection::vec(any::<u16>(), 0..7),
        count in 0u16..7,
        flags in any::<(bool, bool, bool)>(),
    ) {
        let mut field = field(kind);
        field.order = Order(places);
        field.count = if flags.2 { u16::try_from(cells.len()).unwrap() } else { count };
        (field.invert, field.one_hot) = (flags.0, flags.1);
        let _ = text(&field, &cells);
        if let Raw::Number(number) = decode(&field, &cells) {
            prop_assert!(number.is_finite());
        }
    }

    #[test]
    fn any_order_brings_back_the_number(
        bits in any::<u64>(),
        size in prop::sample::select(vec![(Kind::U16, Kind::I16, 2u8), (Kind::U32, Kind::I32, 4), (Kind::U64, Kind::I64, 8)]),
        shuffle in Just((0..8).collect::<Vec<u8>>()).prop_shuffle(),
    ) {
        let (unsigned_kind, signed_kind, length) = size;
        let order = Order(shuffle.into_iter().filter(|place| *place < length).collect());
        let natural = &bits.to_be_bytes()[8 - usize::from(length)..];
        let cells: Vec<u16> =
            order.scatter(natural).unwrap().chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        let value = natural.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let mut plain = field(unsigned_kind);
        plain.order = order.clone();
        prop_assert_eq!(super::bits(&plain, &cells), Ok(value));
        let nearest: f64 = value.to_string().parse().unwrap();
        prop_assert_eq!(decode(&plain, &cells), Raw::Number(nearest));
        let mut with_sign = field(signed_kind);
        with_sign.order = order;
        let negative = i128::from(value) - if natural[0] >= 0x80 { 1i128 << (8 * length) } else { 0 };
        prop_assert_eq!(decode(&with_sign, &cells), Raw::Number(negative.to_string().parse().unwrap()));
    }
}
