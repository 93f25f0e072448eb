//! Texts with gaps: what all modes say, in few bytes.

use fly::{error::describe, packed::Packed, squeezed, squeezed::Squeezed, text::Line};

/// What goes into the gaps of a text.
#[derive(Clone, Copy, Debug)]
pub struct Gaps<'a> {
    /// `~`: the program's name.
    pub name: &'a [u8],
    /// `%`: how it was called.
    pub called: &'a [u8],
    /// `` ` ``: a text with gaps.
    pub inner: Packed,
    /// `^`: what it is about.
    pub object: &'a [u8],
    /// `{`: a number; `#`: its meaning as an error number.
    pub first: u32,
    /// `}`: another number.
    pub second: u32,
    /// Whether it is docker-init, which tells its commit in place of `$`.
    pub is_docker: bool,
}

impl Gaps<'_> {
    /// Nothing.
    pub const NONE: Self = Self {
        name: b"",
        called: b"",
        inner: Packed(b""),
        object: b"",
        first: 0,
        second: 0,
        is_docker: false,
    };
}

/// Writes `text` to descriptor `to`.
#[cold]
#[inline(never)]
pub fn write(to: i32, text: Packed, gaps: &Gaps<'_>) {
    let mut line = Line::new(to);
    fill(&mut line, text, gaps);
    line.flush();
}

#[inline(never)]
fn fill(line: &mut Line, text: Packed, gaps: &Gaps<'_>) {
    text.each(&mut |byte| put(line, byte, gaps));
}

/// Writes `parts` of [`LONG`] to descriptor `to`; `room` as for [`Squeezed::each`].
#[cold]
#[inline(never)]
pub fn write_long(to: i32, parts: u32, room: &mut [u8], gaps: &Gaps<'_>) {
    let mut line = Line::new(to);
    LONG.each(room, parts, &mut |byte| put(&mut line, byte, gaps));
    line.flush();
}

/// What is seldom read. The first are in the order of [`super::options::Wrong`]: getopt's
/// words, which programs that call the originals compare. Only dumb-init has a name
/// that is ambiguous.
const LONG: Squeezed = squeezed!(concat!(
    "%: unrecognized option '^'\n\0",
    "%: invalid option -- '^'\n\0",
    "%: option '--^' requires an argument\n\0",
    "%: option requires an argument -- '^'\n\0",
    "%: option '--^' doesn't allow an argument\n\0",
    "%: option '--^' is ambiguous; possibilities: '--verbose' '--version'\n\0",
    "Usage: % [option] program [args]\nTry % --help for full usage.\n\0",
    include_str!("dumb-init.rewrite"),
    "\0",
    include_str!("catatonit.usage"),
    "\0",
    // Two for each role: version, help.
    "tini version 0.19.0$\n\0",
    include_str!("tini.help"),
    "\0dumb-init v1.2.5\n\0",
    include_str!("dumb-init.help"),
    // It calls itself tini, for Docker.
    "\0tini version 0.1.7_catatonit\n\0",
    include_str!("catatonit.help"),
    concat!("\0stage1-init ", env!("CARGO_PKG_VERSION"), "\n\0"),
    include_str!("own.help"),
    concat!("\0", env!("CARGO_PKG_LICENSE"), "\n\0"),
));

const _: () = assert!(crate::BYTES >= fly::squeezed::ROOM, "room for these texts");

/// The part that dumb-init writes where there is no program.
pub const NO_PROGRAM: u32 = 1 << 6;
/// What it writes about a wrong `--rewrite`.
pub const REWRITE: u32 = 1 << 7;
/// How catatonit is called.
pub const USAGE: u32 = 1 << 8;
/// The first part of the two of [`super::Role::Tini`].
pub const VERSION: u32 = 9;
/// The license of this program, by whatever name it is called.
pub const LICENSE: u32 = 1 << (VERSION + 8);

#[inline(never)]
fn put(line: &mut Line, byte: u8, gaps: &Gaps<'_>) {
    match byte {
        b'`' => {
            fill(line, gaps.inner, gaps);
            line
        }
        b'~' => line.bytes(gaps.name),
        b'%' => line.bytes(gaps.called),
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
