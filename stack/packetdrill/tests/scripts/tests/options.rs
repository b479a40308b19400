//! Values of socket options.

use crate::language::Value;
use crate::options::*;

fn list(numbers: &[i64]) -> Value {
    Value::List(numbers.iter().map(|number| Value::Number(*number)).collect())
}

#[test]
fn a_length_is_read_with_and_without_brackets() {
    // Shows both forms: the value is compared with either, and so is the length that was told.
    for len in [Value::Number(4), list(&[4])] {
        let expected = Expected::of(&list(&[7]), &len).unwrap();
        assert_eq!(expected.room(), 4, "{len:?}");
        assert_eq!(expected.check(&7_i32.to_ne_bytes()), Ok(()), "{len:?}");
        assert_eq!(
            expected.check(&8_i32.to_ne_bytes()),
            Err("getsockopt told 8, not 7".to_owned()),
            "{len:?}"
        );
        assert_eq!(expected.check(&[7]), Err("getsockopt told 1 bytes, not 4".to_owned()), "{len:?}");
    }
    let open = Expected::of(&list(&[1, 5]), &Value::Any).unwrap();
    assert!(open.check(&[1_i32.to_ne_bytes(), 5_i32.to_ne_bytes()].concat()).is_ok());
    assert!(open.check(&1_i32.to_ne_bytes()).is_err(), "less than was expected");
    assert!(Expected::of(&Value::Any, &list(&[4])).unwrap().check(&[1, 2, 3, 4]).is_ok());
}

#[test]
fn a_text_ends_before_its_zeroes() {
    // Shows a text in a longer buffer, one that goes on, and one that does not fill it.
    let expected = Expected::of(&Value::Text("reno".to_owned()), &list(&[8])).unwrap();
    assert_eq!(expected.check(b"reno\0\0\0\0"), Ok(()));
    for told in [&b"renoir\0\0"[..], b"re\0no\0\0\0", b"ren\0\0\0\0\0", b"reno"] {
        assert!(expected.check(told).is_err(), "{told:?}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    // Shows values and lengths that are no numbers, too many, or too large: none of them is taken for any value.
    let call = Value::Function("htons".to_owned(), Vec::new());
    let unknown = Value::Names(vec!["EUNHEARDOF".to_owned()]);
    for value in [list(&[1 << 40]), Value::List(vec![Value::Any]), Value::List(vec![unknown]), call] {
        assert!(Expected::of(&value, &list(&[4])).is_err(), "{value:?}");
    }
    for len in [list(&[4, 4]), list(&[-1]), list(&[]), Value::Text("4".to_owned())] {
        assert!(Expected::of(&list(&[0]), &len).is_err(), "{len:?}");
    }
}
