//! What of a service manager's is passed through to the programs that ask: the
//! descriptors of LISTEN_FDS, and the socket of NOTIFY_SOCKET.

use core::ffi::CStr;

use fly::{
    capability,
    error::{Error, What, Why},
    plan::{MAX_LISTENING, Step},
    text::decimal,
};

use linux_raw_sys::general as raw;

use super::{
    DEV, Features, Lowering, NODEV, NOSUID, SOURCE,
    own::{Program, Programs},
};
use crate::options::{AppOption, Insecure, Limit, Options, Stage1};

/// What the programs of a pod ask for: what nobody does is not looked for again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// The descriptors of LISTEN_FDS.
    pub listening: bool,
    /// The socket of NOTIFY_SOCKET.
    pub notify: bool,
    /// What pid 1 needs for that, beside what it always has.
    pub(super) capabilities: u64,
    /// Limits of any kind.
    pub(super) limits: bool,
    /// Other capabilities.
    pub(super) changes: bool,
    /// A pipe between two.
    pub(super) pipes: bool,
    /// A standard input that can be attached, of which only some programs know.
    pub streams: bool,
}

/// What they ask for.
///
/// # Errors
/// As of [`super::lower`]; only a pod of ours passes anything.
pub fn wants<'a, I>(options: &Options<'a, I>) -> Result<Wants, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    const STREAMS: [AppOption; 3] = [AppOption::Stdin, AppOption::Stdout, AppOption::Stderr];
    const LIMITS: u64 = 1 << raw::CAP_SYS_RESOURCE | 1 << raw::CAP_SYS_NICE;
    let mut wants = Wants::default();
    let mut programs = Programs::of(options);
    while let Some(program) = programs.next()? {
        let own = &program.policies;
        wants.listening |= own.asks(AppOption::ListenFds);
        wants.notify |= own.asks(AppOption::NotifySocket);
        wants.limits |= own.limits;
        wants.changes |= own.changes;
        wants.pipes |= STREAMS.iter().any(|stream| {
            let value = own.value(*stream).unwrap_or_default();
            value.to_bytes().starts_with(b"pipe")
        });
        wants.capabilities |= own.added;
        if is_unfiltered(options, own.added) {
            let option = c"--cap-add";
            return Err(Error::new(What::ReadOption, option, Why::NeedsDevice));
        }
        if own.limits {
            wants.capabilities |= LIMITS;
        }
        let mounts = own.asks(AppOption::PidNamespace) || options.several;
        if mounts || own.filters_early(options.insecure) {
            wants.capabilities |= 1 << raw::CAP_SYS_ADMIN;
        }
        if own.asks(AppOption::NotifySocket) && own.notifies() {
            let option = c"--notify-socket";
            return Err(Error::new(What::ReadOption, option, Why::OtherNotify));
        }
    }
    let why = match options.stage1 {
        _ if options.output.is_some() => Why::NotForMachine,
        Stage1::Init(_) => return Ok(wants),
        _ => Why::OnlyInit,
    };
    match (wants.listening, wants.notify) {
        (true, _) => Err(Error::new(What::ReadOption, c"--listen-fds", why)),
        (_, true) => Err(Error::new(What::ReadOption, c"--notify-socket", why)),
        _ => Ok(wants),
    }
}

/// Whether nodes of devices could be made that nothing keeps from being used; who has all
/// capabilities has other ways to them.
fn is_unfiltered<'a, I>(options: &Options<'a, I>, added: u64) -> bool {
    added >> raw::CAP_MKNOD & 1 != 0
        && added != capability::ALL
        && options.limits.get(Limit::Devices).is_none()
        && !options.insecure.has(Insecure::CAPABILITIES)
        && !options.added
        && options.output.is_none()
}

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    /// How many descriptors are passed through.
    fn listening(&self) -> Result<u16, Error<'a>> {
        let Some(text) = self.host.listening else {
            return Ok(0);
        };
        let count = decimal(text).and_then(|count| u16::try_from(count).ok());
        count
            .filter(|count| i32::from(*count) <= MAX_LISTENING)
            .ok_or(Error::new(What::ReadVariable, c"LISTEN_FDS", Why::NoCount))
    }

    pub(super) fn close_inherited(&mut self) -> Result<(), Error<'a>> {
        match self.listening()? {
            0 => self.plan.push(Step::CloseInherited {}),
            count => self.plan.push(Step::KeepListening {
                count: u64::from(count),
            }),
        };
        Ok(())
    }

    /// Puts the socket into the pod's /dev, which no image can have changed.
    pub(super) fn notify_socket(&mut self) -> Result<(), Error<'a>> {
        match self.host.notify {
            None => return Ok(()),
            Some([b'/', ..]) => {}
            Some(_) => {
                let variable = c"NOTIFY_SOCKET";
                return Err(Error::new(
                    What::ReadVariable,
                    variable,
                    Why::NoPathOfSocket,
                ));
            }
        }
        self.plan
            .push(Step::File {
                under: DEV,
                mode: 0o600,
                name: c"notify",
            })
            .begin_list(Step::OpenTree {
                into: SOURCE,
                flags: 0,
                attributes: NOSUID | NODEV,
                path: c"",
            })
            .joined(&[self.host.notify.unwrap_or_default()])
            .end()
            .push(Step::Attach {
                mount: SOURCE,
                under: DEV,
                flags: Step::NO_FOLLOW | Step::CLOSE,
                target: c"notify",
            });
        Ok(())
    }

    pub(super) fn listen(&mut self, program: &Program<'a, I>) -> Result<(), Error<'a>> {
        let count = self.listening()?;
        if count != 0 && program.policies.asks(AppOption::ListenFds) {
            self.plan.push(Step::Listen { count });
        }
        Ok(())
    }

    /// The variables that tell the program; LISTEN_PID is pid 1's to tell.
    pub(super) fn passed_variables(&mut self, program: &Program<'a, I>) {
        let own = &program.policies;
        if let (Some(count), true) = (self.host.listening, own.asks(AppOption::ListenFds)) {
            self.plan.joined(&[b"LISTEN_FDS=", count]);
            if let Some(names) = self.host.names {
                self.plan.joined(&[b"LISTEN_FDNAMES=", names]);
            }
        }
        if self.host.notify.is_some() && own.asks(AppOption::NotifySocket) {
            self.plan.string(c"NOTIFY_SOCKET=/dev/notify");
        }
    }
}
