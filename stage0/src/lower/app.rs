//! The apps of a pod: who they run as, what they may, what they are.

use core::ffi::CStr;

use super::{Lowering, policy::Policies};
use crate::options::{Choice, Choices, Stage1};
use fly::{
    capability,
    error::{Error, What, Why},
    lower as common,
    plan::{List, MAX_APPS, Step},
    seccomp::DEFAULT,
    user,
};

impl<'a, I> Lowering<'_, 'a, '_, '_, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    pub(super) fn apps(&mut self) -> Result<(), Error<'a>> {
        let mut rest = self.options.programs.clone();
        let mut choices = self.options.choices.clone();
        let mut index = 0;
        let mut decided = false;
        while rest.clone().next().is_some() {
            let app = Policies::read(index, &mut choices)?;
            if index > 0 {
                rest = choices.operands();
            }
            let program = rest.clone();
            let count = program.clone().take_while(|word| *word != c"---").count();
            // The words of this app, and the separator behind them.
            for _ in 0..=count {
                rest.next();
            }
            if count == 0 || index >= MAX_APPS {
                return Err(Error::new(
                    What::Read,
                    c"the command line",
                    if count == 0 {
                        Why::NoProgramNamed
                    } else {
                        Why::TooManyApps
                    },
                ));
            }
            decided |= app.is_called(self.options.exit_policy.unwrap_or_default());
            self.app(&app, program.take(count))?;
            choices = Choices::new(rest.clone());
            index += 1;
        }
        match self.options.exit_policy {
            Some(policy)
                if !decided
                    && !matches!(policy.to_bytes(), b"all" | b"first-failure" | b"never") =>
            {
                Err(Error::new(What::ReadOption, policy, Why::NoSuchApp))
            }
            _ => Ok(()),
        }
    }

    fn app<P>(&mut self, app: &Policies<'a>, program: P) -> Result<(), Error<'a>>
    where
        P: Iterator<Item = &'a CStr> + Clone,
    {
        let options = self.options;
        let policy = if options.added {
            Some(c"never")
        } else {
            options.exit_policy
        };
        app.lower(policy, self.plan)?;
        if let Some(path) = options.status_directory.filter(|_| app.is_first()) {
            if !path.to_bytes().starts_with(b"/") {
                return Err(Error::new(What::ReadOption, path, Why::NotAbsolute));
            }
            self.plan.push(Step::Report { path });
        }
        if options.stage1 != Stage1::Fly {
            self.plan
                .push(Step::AppSession {
                    flags: if self.host.terminal {
                        Step::TERMINAL
                    } else {
                        0
                    },
                })
                .push(Step::AppUmask { mask: 0o022 });
        }
        if let Some(path) = options.working_directory {
            common::working_directory(self.plan, path)?;
        }
        let identity = match (options.user, options.group) {
            (None, None) => None,
            (user, group) => Some(user::resolve(options.rootfs, user.unwrap_or(c"0"), group)?),
        };
        self.credentials(identity.as_ref());
        if options.stage1 != Stage1::Fly {
            self.plan.push(Step::Unblock {});
        }
        if !options.insecure {
            self.plan.push(Step::Seccomp { filter: DEFAULT });
        }
        self.exec(app, program, identity.as_ref())
    }

    /// The bounding set is limited already where pid 1 has no more than the
    /// apps; where the app is the process that was called, it does that itself.
    fn credentials(&mut self, identity: Option<&user::Identity>) {
        let confined = !self.options.insecure;
        if confined && !self.has_init() {
            self.plan.push(Step::Bounding {
                keep: capability::DEFAULT,
            });
        }
        match identity {
            Some(identity) => common::identity(self.plan, identity),
            None if self.host.groups => common::groups(self.plan, &[]),
            None => {}
        }
        if confined {
            // setuid(2) to another user than root has emptied the sets.
            let root = identity.is_none_or(|identity| identity.user == 0);
            self.plan.push(Step::Capabilities {
                keep: if root { capability::DEFAULT } else { 0 },
            });
            self.plan.push(Step::NoNewPrivileges {});
        } else if self.host.inheritable {
            // All that is held; but none is inheritable (CVE-2022-29162), and
            // with that none ambient.
            self.plan.push(Step::Capabilities {
                keep: capability::ALL,
            });
        }
    }

    fn has_init(&self) -> bool {
        // That of a machine keeps all capabilities: it switches the machine off.
        matches!(self.options.stage1, Stage1::Init(_)) && self.options.output.is_none()
    }

    fn exec<P>(
        &mut self,
        app: &Policies<'a>,
        program: P,
        identity: Option<&user::Identity>,
    ) -> Result<(), Error<'a>>
    where
        P: Iterator<Item = &'a CStr> + Clone,
    {
        // Without pid 1 the program is executed by stage0, a file of the host.
        let guarded = !self.options.insecure && self.options.stage1 == Stage1::Fly;
        self.plan.begin_list(Step::Exec {
            flags: if guarded { Step::GUARD } else { 0 },
            arguments: program.clone().count() as u64,
            strings: List::EMPTY,
        });
        self.plan.string(program.clone().next().unwrap_or_default());
        for word in program {
            self.plan.string(word);
        }
        let home = identity.and_then(|identity| identity.home);
        let home = match (&home, identity) {
            (Some(home), _) => home.as_bytes(),
            (None, Some(identity)) if identity.user != 0 => b"/",
            _ => b"/root",
        };
        if !self.is_set(b"PATH")? {
            self.plan.string(fly::launch::app::DEFAULT_PATH_VARIABLE);
        }
        if !self.is_set(b"HOME")? {
            self.plan.joined(&[b"HOME=", home]);
        }
        if self.host.terminal && !self.is_set(b"TERM")? {
            self.plan
                .joined(&[b"TERM=", self.host.term.unwrap_or(b"xterm")]);
        }
        if app.notifies() {
            app.join(self.plan, b"NOTIFY_SOCKET=/dev/shm/notify-");
        }
        let mut choices = self.options.choices.clone();
        while let Some(choice) = choices.take()? {
            if let Choice::SetVariable(variable) = choice
                && !is_set_in(choices.clone(), common::variable_name(variable))?
            {
                self.plan.string(variable);
            }
        }
        self.plan.end();
        Ok(())
    }

    fn is_set(&self, name: &[u8]) -> Result<bool, Error<'a>> {
        is_set_in(self.options.choices.clone(), name)
    }
}

/// Whether one of the options from `choices` on sets the variable `name`.
fn is_set_in<'a, I>(mut choices: Choices<I>, name: &[u8]) -> Result<bool, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    while let Some(choice) = choices.take()? {
        if let Choice::SetVariable(variable) = choice
            && common::variable_name(variable) == name
        {
            return Ok(true);
        }
    }
    Ok(false)
}
