//! Texts with gaps: what all modes say, in few bytes.

use fly::{error::describe, packed::Packed, squeezed, squeezed::Squeezed, text::Line};

/// What goes into the gaps of a text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gaps<'a> {
    /// `~`: how the program was called.
    pub called: &'a [u8],
    /// `^`: what it is about.
    pub object: &'a [u8],
    /// `{`: a number; `#`: its meaning as an error number.
    pub first: u32,
    /// `}`: another number.
    pub second: u32,
    /// Whether it is docker-init, which tells its commit in place of `$`.
    pub is_docker: bool,
}

/// Writes `texts` to descriptor `to`.
#[cold]
#[inline(never)]
pub fn write(to: i32, texts: &[Packed], gaps: &Gaps<'_>) {
    let mut line = Line::new(to);
    for text in texts {
        text.each(&mut |byte| put(&mut line, byte, gaps));
    }
    line.flush();
}

/// Writes part `number` of [`LONG`] to descriptor `to`; `room` as for
/// [`Squeezed::each`].
#[cold]
#[inline(never)]
pub fn write_long(to: i32, number: u32, room: &mut [u8], gaps: &Gaps<'_>) {
    let mut line = Line::new(to);
    LONG.each(room, number, &mut |byte| put(&mut line, byte, gaps));
    line.flush();
}

/// What is long, and seldom read.
const LONG: Squeezed = squeezed!(concat!(
    include_str!("tini.help"),
    "\0",
    include_str!("dumb-init.help"),
    "\0",
    include_str!("own.help"),
    "\0",
    include_str!("catatonit.help"),
    "\0",
    include_str!("tini.license"),
    "\0",
    include_str!("catatonit.license"),
    "\0",
));

#[inline(never)]
fn put(line: &mut Line, byte: u8, gaps: &Gaps<'_>) {
    match byte {
        b'~' => line.bytes(gaps.called),
        b'^' => line.bytes(gaps.object),
        b'{' => line.number(gaps.first.into()),
        b'}' => line.number(gaps.second.into()),
        b'#' => line.packed(describe(u16::try_from(gaps.first).unwrap_or(0))),
        // What Docker builds it from, and looks for.
        b'$' if gaps.is_docker => line.bytes(b" - git.de40ad0"),
        b'$' => line,
        _ => line.bytes(&[byte]),
    };
}
