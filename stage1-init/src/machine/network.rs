//! Static addresses. Whoever needs DHCP runs a client as an app.

use core::ffi::CStr;

use fly::{
    error::{Error, What},
    sys::network,
    text::{decimal, split},
};

use super::{cause, settings::Settings, warn};

/// `NAME:ADDRESS/PREFIX[,GATEWAY]`.
pub struct Address<'c> {
    interface: &'c [u8],
    address: [u8; 4],
    prefix: u32,
    gateway: Option<[u8; 4]>,
}

/// Gives the interfaces their addresses. What fails is told.
pub fn addresses(settings: &Settings<'_>) {
    settings.addresses(&mut |text| {
        // The settings have told those that are wrong.
        let Some(address) = parse(text) else { return };
        let mask = u32::MAX.checked_shl(32 - address.prefix).unwrap_or(0);
        let done = network::set_address(address.interface, address.address, mask.to_be_bytes())
            .and_then(|()| address.gateway.map_or(Ok(()), network::set_gateway));
        warn(done.map_err(|errno| Error::new(What::Set, text, cause(errno))));
    });
}

pub fn parse(text: &CStr) -> Option<Address<'_>> {
    let mut parts = split(text.to_bytes(), b':');
    let interface = parts.next().filter(|name| !name.is_empty())?;
    let mut parts = split(parts.rest(), b',');
    let mut pair = split(parts.next()?, b'/');
    let address = four(pair.next()?)?;
    let prefix = u32::try_from(decimal(pair.rest())?).ok()?;
    let gateway = parts.next();
    let address = Address {
        interface,
        address,
        prefix,
        gateway: gateway.and_then(four),
    };
    let is_whole = gateway.is_some() == address.gateway.is_some() && parts.next().is_none();
    (is_whole && prefix <= 32).then_some(address)
}

/// The four numbers of an address.
fn four(text: &[u8]) -> Option<[u8; 4]> {
    let mut numbers = [0; 4];
    let mut parts = split(text, b'.');
    for number in &mut numbers {
        *number = u8::try_from(decimal(parts.next()?)?).ok()?;
    }
    parts.next().is_none().then_some(numbers)
}
