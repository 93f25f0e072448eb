//! The program `fly-seccomp`: compiles system call filters and tells what they do.
//! It runs beforehand, or as a child of `fly`, so that no start holds the compiler.
#![no_std]
#![no_main]

use core::ffi::CStr;

use rustix::{
    fd::{AsRawFd, OwnedFd},
    fs::{self, Mode, OFlags},
    io::Errno,
    system,
    thread::{self, CapabilitySet},
};

use fly::{
    capability,
    error::{FAILURE, describe},
    packed,
    packed::Packed,
    seccomp::{
        DEFAULT, MAX_BYTES, action,
        compile::compile,
        examine::{Call, Outcome, outcome},
        is_filter,
        profile::{Context, MAX_PROFILE, Problem, Profile},
        words::{capability_number, name_of, number_of, version},
    },
    sys::{
        descriptor,
        entry::{Start, StringsIter},
    },
    text::{Line, decimal, split},
};

fly::entry!(main, bytes = MAX_PROFILE + 1, words = 1);

const HELP: Packed = packed!(include_str!("fly-seccomp.help"));

/// Why it failed: `step object: cause (advice)`.
enum Failure {
    /// The kernel's answer.
    System(&'static str, &'static CStr, Errno),
    /// A cause that is found here, and what to do.
    Found(&'static str, &'static CStr, &'static str, &'static str),
    /// Something in a profile, and the word of it that is meant.
    Profile(&'static CStr, Problem, &'static [u8]),
}

const SEE_HELP: &str = "see --help";

#[allow(clippy::needless_pass_by_value, reason = "`fly::entry!` hands it over")]
fn main(start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    // As a child of fly it speaks for that.
    let name = match arguments.next() {
        Some(name) if name == c"fly" => "fly",
        _ => "fly-seccomp",
    };
    match run(&mut arguments, start.bytes) {
        Ok(()) => 0,
        Err(failure) => {
            print_failure(name, &failure);
            FAILURE
        }
    }
}

fn run(arguments: &mut StringsIter, room: &'static mut [u8]) -> Result<(), Failure> {
    let command = arguments.next().unwrap_or_default();
    let version = concat!("fly-seccomp ", env!("CARGO_PKG_VERSION"), "\n");
    match command.to_bytes() {
        b"--help" | b"-h" => {
            let mut line = Line::new(1);
            HELP.add_to(&mut line);
            said(line.flush())
        }
        b"--version" | b"-V" => write(1, c"standard output", version.as_bytes()),
        b"compile" => compile_profile(&Options::read(arguments)?, room),
        b"explain" => explain(&Options::read(arguments)?, room),
        b"" => Err(Failure::Found(
            "read",
            c"the command line",
            "no command is named",
            SEE_HELP,
        )),
        _ => Err(Failure::Found(
            "read command",
            command,
            "there is no such command",
            SEE_HELP,
        )),
    }
}

/// What the command line says behind the command.
struct Options {
    file: &'static CStr,
    capabilities: Option<u64>,
    output: Option<&'static CStr>,
    /// The call and its arguments.
    words: [Option<&'static CStr>; 7],
}

impl Options {
    fn read(arguments: &mut StringsIter) -> Result<Self, Failure> {
        let mut options = Self {
            file: c"",
            capabilities: None,
            output: None,
            words: [None; 7],
        };
        let mut operands = 0;
        let mut only_operands = false;
        while let Some(word) = arguments.next() {
            let failed = |cause| Err(Failure::Found("read option", word, cause, SEE_HELP));
            match word.to_bytes() {
                b"--" if !only_operands => only_operands = true,
                b"--cap" if !only_operands => match arguments.next() {
                    Some(name) => {
                        let held = options.capabilities.get_or_insert(0);
                        *held |= capabilities(name)?;
                    }
                    None => return failed("its value is missing"),
                },
                b"--output" if !only_operands => match arguments.next() {
                    Some(path) => options.output = Some(path),
                    None => return failed("its value is missing"),
                },
                [b'-', _, ..] if !only_operands => return failed("there is no such option"),
                _ => {
                    match operands {
                        0 => options.file = word,
                        index => match options.words.get_mut(index - 1) {
                            Some(place) => *place = Some(word),
                            None => return too_many(word),
                        },
                    }
                    operands += 1;
                }
            }
        }
        if operands == 0 {
            return Err(Failure::Found(
                "read",
                c"the command line",
                "no profile is named",
                SEE_HELP,
            ));
        }
        Ok(options)
    }

    /// For whom profiles are read.
    fn context(&self) -> Context {
        let release = system::uname();
        Context {
            capabilities: self.capabilities.unwrap_or_else(bounding_set),
            kernel: version(release.release().to_bytes()).unwrap_or((0, 0)),
        }
    }
}

fn too_many<T>(word: &'static CStr) -> Result<T, Failure> {
    Err(Failure::Found(
        "read argument",
        word,
        "there are too many",
        SEE_HELP,
    ))
}

fn capabilities(name: &'static CStr) -> Result<u64, Failure> {
    let bytes = name.to_bytes();
    match bytes {
        b"default" => return Ok(capability::DEFAULT),
        b"all" => return Ok(capability::ALL),
        b"none" => return Ok(0),
        _ => {}
    }
    if let Some(set) = decimal(bytes) {
        return Ok(set);
    }
    let short = bytes
        .strip_prefix(b"CAP_")
        .or_else(|| bytes.strip_prefix(b"cap_"));
    match capability_number(short.unwrap_or(bytes)) {
        Some(number) => Ok(1 << number),
        None => Err(Failure::Found(
            "read capability",
            name,
            "there is no such capability",
            "see capabilities(7)",
        )),
    }
}

/// The capabilities that a program started from here can have.
fn bounding_set() -> u64 {
    let mut set = 0;
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match thread::capability_is_in_bounding_set(one) {
            Ok(true) => set |= 1 << number,
            Ok(false) => {}
            Err(_) => break,
        }
    }
    set
}

/// Writes the filter.
fn compile_profile(options: &Options, room: &'static mut [u8]) -> Result<(), Failure> {
    if let Some(word) = options.words.iter().flatten().next() {
        return too_many(word);
    }
    let text = contents(options.file, room)?;
    let mut filter = [0; MAX_BYTES];
    let filter = compiled(options, text, &mut filter)?;
    let Some(path) = options.output else {
        return write(1, c"standard output", filter);
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    let file =
        fs::open(path, flags, mode).map_err(|errno| Failure::System("write", path, errno))?;
    write(file.as_raw_fd(), path, filter)
}

#[inline(never)]
fn compiled<'b>(
    options: &Options,
    text: &'static [u8],
    place: &'b mut [u8],
) -> Result<&'b [u8], Failure> {
    let mut profile = Profile::default();
    profile
        .read(text, &options.context())
        .map_err(|problem| Failure::Profile(options.file, problem, word(text, problem.at)))?;
    let program = compile(&profile);
    program
        .and_then(|program| program.write(place))
        .ok_or(Failure::Found(
            "compile",
            options.file,
            "the filter would have more than 4096 instructions",
            "use fewer rules with arguments",
        ))
}

/// The string that begins at byte `at` of `text`, if there is one.
fn word(text: &[u8], at: usize) -> &[u8] {
    let rest = text.get(at..).unwrap_or_default();
    match rest.strip_prefix(b"\"") {
        Some(rest) => split(rest, b'"').next().unwrap_or_default(),
        None => b"",
    }
}

/// Prints what becomes of a call.
fn explain(options: &Options, room: &'static mut [u8]) -> Result<(), Failure> {
    let [Some(call), arguments @ ..] = options.words else {
        return Err(Failure::Found(
            "read",
            c"the command line",
            "no system call is named",
            SEE_HELP,
        ));
    };
    let number = number_of(call.to_bytes()).map(u32::from).or_else(|| {
        let number = number(call.to_bytes())?;
        u32::try_from(number).ok()
    });
    let Some(number) = number else {
        return Err(Failure::Found(
            "read system call",
            call,
            "there is no such call on x86_64",
            "a number will do, too",
        ));
    };
    let mut values = [None; 6];
    for (value, word) in values.iter_mut().zip(arguments) {
        let Some(word) = word else { break };
        let bad = "it is no number";
        let failed = Failure::Found("read argument", word, bad, SEE_HELP);
        *value = Some(self::number(word.to_bytes()).ok_or(failed)?);
    }
    let text = if options.file == c"default" {
        DEFAULT
    } else {
        contents(options.file, room)?
    };
    let mut place = [0; MAX_BYTES];
    let filter = if is_filter(text) {
        text
    } else {
        compiled(options, text, &mut place)?
    };
    let found = outcome(filter, &Call::new(number, values));
    said(tell(number, &found))
}

/// Whether it could be said.
fn tell(number: u32, outcome: &Outcome) -> bool {
    let mut line = Line::new(1);
    let name = u16::try_from(number).ok().and_then(name_of);
    line.bytes(name.unwrap_or(b"call"))
        .text(" (")
        .number(u64::from(number))
        .text("): ");
    let mut separator = "";
    for verdict in outcome.verdicts() {
        line.text(separator);
        separator = ", or ";
        tell_verdict(&mut line, *verdict);
    }
    let mut separator = "; by argument ";
    for index in 0..6_u8 {
        if outcome.missing & (1 << index) != 0 && outcome.verdicts().len() > 1 {
            line.text(separator).number(u64::from(index));
            separator = " and ";
        }
    }
    line.end()
}

fn tell_verdict(line: &mut Line, verdict: u32) {
    let [low, high, ..] = verdict.to_le_bytes();
    let value = u16::from_le_bytes([low, high]);
    match verdict & action::MASK {
        action::ALLOW => line.text("allowed"),
        action::LOG => line.text("allowed and logged"),
        action::TRACE => line.text("told to a tracer"),
        action::NOTIFY => line.text("told to a listener"),
        action::TRAP => line.text("SIGSYS"),
        action::KILL_THREAD => line.text("the thread is killed"),
        action::ERRNO => {
            tell_error(line.text("refused: "), value);
            line.text(" (error ").number(u64::from(value)).text(")")
        }
        // What the kernel does not know is this, too.
        _ => line.text("the process is killed"),
    };
}

/// What the kernel has answered.
fn tell_error(line: &mut Line, number: u16) {
    let text = describe(number);
    if text.0.is_empty() {
        line.text("error ").number(u64::from(number));
    } else {
        text.add_to(line);
    }
}

/// A decimal number, or one with 0x.
fn number(text: &[u8]) -> Option<u64> {
    let Some(digits) = text.strip_prefix(b"0x") else {
        return decimal(text);
    };
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some((value << 4) | u64::from(digit))
    })
}

/// All of a file.
fn contents(path: &'static CStr, room: &'static mut [u8]) -> Result<&'static [u8], Failure> {
    let failed = |errno| Failure::System("read", path, errno);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file: OwnedFd = fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let mut used = 0;
    loop {
        let place = room.get_mut(used..).unwrap_or_default();
        if place.is_empty() {
            return Err(Failure::Found(
                "read",
                path,
                "it is larger than 1 MiB",
                "no profile is",
            ));
        }
        match descriptor::read(file.as_raw_fd(), place) {
            Ok(0) => return Ok(room.get(..used).unwrap_or_default()),
            Ok(count) => used += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}

fn write(file: i32, name: &'static CStr, bytes: &[u8]) -> Result<(), Failure> {
    written(name, descriptor::write_all(file, bytes))
}

fn said(done: bool) -> Result<(), Failure> {
    written(c"standard output", done)
}

fn written(name: &'static CStr, done: bool) -> Result<(), Failure> {
    if done {
        return Ok(());
    }
    Err(Failure::Found(
        "write",
        name,
        "not all of it could be written",
        "is the disk full?",
    ))
}

/// `program: step object: cause (advice)`.
fn print_failure(program: &str, failure: &Failure) {
    let mut line = Line::new(2);
    line.text(program).text(": ");
    match failure {
        Failure::System(step, object, errno) => {
            let number = errno.raw_os_error();
            line.text(step)
                .text(" ")
                .quoted(object.to_bytes())
                .text(": ");
            tell_error(&mut line, u16::try_from(number).unwrap_or(0));
        }
        Failure::Found(step, object, cause, advice) => {
            line.text(step)
                .text(" ")
                .quoted(object.to_bytes())
                .text(": ")
                .text(cause)
                .text(" (")
                .text(advice)
                .text(")");
        }
        Failure::Profile(path, Problem { at, field, text }, word) => {
            line.text("read ").quoted(path.to_bytes()).text(": ");
            if !field.is_empty() {
                line.text(field).text(": ");
            }
            if !word.is_empty() {
                line.quoted(word).text(": ");
            }
            line.text(text)
                .text(" (at byte ")
                .number(*at as u64)
                .text(")");
        }
    }
    line.end();
}
