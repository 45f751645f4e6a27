//! Distinguished names as OpenSSL writes them with `XN_FLAG_RFC2253`, byte for byte.
//!
//! ACL files hold these strings as user names, so anything else than what mosquitto compares with
//! would take rights away, or give them. The last part comes first, parts are joined by `,` and
//! values of one part by `+`, without blanks; characters that RFC 2253 section 2.4 names, control
//! characters and all that is not ASCII are escaped.

use std::fmt::Write;

use x509_parser::asn1_rs::Any;
use x509_parser::x509::X509Name;

/// ASN.1 universal tags of the string types.
const UTF8_STRING: u32 = 12;
const BMP_STRING: u32 = 30;
const UNIVERSAL_STRING: u32 = 28;
/// Types whose bytes are Latin-1 characters: Numeric, Printable, Teletex, IA5, `UTCTime`,
/// `GeneralizedTime` and Visible.
const LATIN1: [u32; 7] = [18, 19, 20, 22, 23, 24, 26];

/// The name has a value whose bytes are not what its type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadString;

/// A name, and whether one of its values holds a control character.
pub(super) struct Printed {
    pub(super) text: String,
    pub(super) has_control: bool,
}

/// Prints `name`.
pub(super) fn print(name: &X509Name<'_>) -> Result<Printed, BadString> {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut printed = Printed {
        text: String::new(),
        has_control: false,
    };
    for part in parts.iter().rev() {
        let values: Vec<_> = part.iter().collect();
        for (index, value) in values.iter().rev().enumerate() {
            if index > 0 {
                printed.text.push('+');
            } else if !printed.text.is_empty() {
                printed.text.push(',');
            }
            let oid = value.attr_type().to_id_string();
            let known = short_name(&oid);
            printed.text.push_str(known.unwrap_or(&oid));
            printed.text.push('=');
            match known {
                Some(_) => print_value(value.attr_value(), &mut printed)?,
                None => dump(value.attr_value(), &mut printed.text),
            }
        }
    }
    Ok(printed)
}

fn print_value(value: &Any<'_>, printed: &mut Printed) -> Result<(), BadString> {
    let Some(characters) = characters(value)? else {
        dump(value, &mut printed.text);
        return Ok(());
    };
    let last = characters.chars().count().saturating_sub(1);
    for (index, character) in characters.chars().enumerate() {
        printed.has_control |= character.is_control();
        let escaped = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (character == ' ' && (index == 0 || index == last))
            || (character == '#' && index == 0 && index != last);
        if escaped {
            printed.text.push('\\');
            printed.text.push(character);
        } else if character.is_ascii_control() || !character.is_ascii() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                hexadecimal(&mut printed.text, "\\", byte);
            }
        } else {
            printed.text.push(character);
        }
    }
    Ok(())
}

/// The characters of a string, `None` if the value is not of a string type.
fn characters(value: &Any<'_>) -> Result<Option<String>, BadString> {
    let bytes = value.data;
    let text = match value.tag().0 {
        UTF8_STRING => std::str::from_utf8(bytes)
            .map_err(|_| BadString)?
            .to_owned(),
        BMP_STRING => wide::<2>(bytes)?,
        UNIVERSAL_STRING => wide::<4>(bytes)?,
        tag if LATIN1.contains(&tag) => bytes.iter().map(|byte| char::from(*byte)).collect(),
        _ => return Ok(None),
    };
    Ok(Some(text))
}

fn wide<const N: usize>(bytes: &[u8]) -> Result<String, BadString> {
    let (characters, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(BadString);
    }
    characters
        .iter()
        .map(|character| {
            let code = character
                .iter()
                .fold(0, |code: u32, byte| code << 8 | u32::from(*byte));
            char::from_u32(code).ok_or(BadString)
        })
        .collect()
}

/// `#` and the value's DER in hexadecimal.
fn dump(value: &Any<'_>, text: &mut String) {
    text.push('#');
    let header = &value.header;
    // Tags above 30 take more bytes; no attribute of a certificate has one.
    let tag = u8::try_from(header.tag().0 & 0x1f).unwrap_or(0);
    let constructed = u8::from(header.is_constructed()) << 5;
    hexadecimal(text, "", (header.class() as u8) << 6 | constructed | tag);
    let length = value.data.len();
    if length < 0x80 {
        hexadecimal(text, "", u8::try_from(length).unwrap_or(0));
    } else {
        let bytes = length.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        hexadecimal(
            text,
            "",
            0x80 | u8::try_from(bytes.len() - zeros).unwrap_or(0),
        );
        for byte in bytes.iter().skip(zeros) {
            hexadecimal(text, "", *byte);
        }
    }
    for byte in value.data {
        hexadecimal(text, "", *byte);
    }
}

pub(super) fn hexadecimal(text: &mut String, before: &str, byte: u8) {
    // Writing to a String does not fail.
    let _ = write!(text, "{before}{byte:02X}");
}

/// OpenSSL's short names of the attribute types that subjects have.
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.13" => "description",
        "2.5.4.15" => "businessCategory",
        "2.5.4.16" => "postalAddress",
        "2.5.4.17" => "postalCode",
        "2.5.4.18" => "postOfficeBox",
        "2.5.4.19" => "physicalDeliveryOfficeName",
        "2.5.4.20" => "telephoneNumber",
        "2.5.4.23" => "facsimileTelephoneNumber",
        "2.5.4.41" => "name",
        "2.5.4.42" => "GN",
        "2.5.4.43" => "initials",
        "2.5.4.44" => "generationQualifier",
        "2.5.4.45" => "x500UniqueIdentifier",
        "2.5.4.46" => "dnQualifier",
        "2.5.4.51" => "houseIdentifier",
        "2.5.4.54" => "dmdName",
        "2.5.4.65" => "pseudonym",
        "2.5.4.72" => "role",
        "2.5.4.97" => "organizationIdentifier",
        "2.5.4.98" => "c3",
        "2.5.4.99" => "n3",
        "2.5.4.100" => "dnsName",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.3" => "mail",
        "0.9.2342.19200300.100.1.9" => "host",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.44" => "uid",
        "1.2.840.113549.1.9.1" => "emailAddress",
        "1.2.840.113549.1.9.2" => "unstructuredName",
        "1.2.840.113549.1.9.8" => "unstructuredAddress",
        "1.3.6.1.4.1.311.60.2.1.1" => "jurisdictionL",
        "1.3.6.1.4.1.311.60.2.1.2" => "jurisdictionST",
        "1.3.6.1.4.1.311.60.2.1.3" => "jurisdictionC",
        _ => return None,
    })
}
