//! The apps of a pod: who they run as, what they may, what they are.

use core::ffi::CStr;

use super::{
    Features, Lowering,
    own::{
        GIVEN_HOME, GIVEN_LOGNAME, GIVEN_NAME, GIVEN_PATH, GIVEN_SHELL, GIVEN_TERM, GIVEN_USER,
        Program, Programs, Sets,
    },
    policy::Registered,
    users::only_caller,
};
use crate::options::{AppOption, Choice, Insecure, Stage1};
use fly::{
    capability,
    error::{Error, What, Why},
    lower::{self as common, kernel_files::covered},
    plan::{Kind, List, Step},
    text::{Digits, Short},
    user,
};

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    pub(super) fn apps(&mut self) -> Result<(), Error<'a>> {
        let policy = self.options.exit_policy;
        let mut decided = false;
        let mut programs = Programs::of(self.options);
        while let Some(program) = programs.next()? {
            decided |= program.policies.is_called(policy.unwrap_or_default());
            self.app(&program)?;
        }
        match policy {
            Some(policy)
                if !decided
                    && !matches!(policy.to_bytes(), b"all" | b"first-failure" | b"never") =>
            {
                Err(Error::new(What::ReadOption, policy, Why::NoSuchApp))
            }
            _ => Ok(()),
        }
    }

    fn app(&mut self, program: &Program<'a, I>) -> Result<(), Error<'a>> {
        let options = self.options;
        let (app, who) = (&program.policies, &program.who);
        self.check_log(program)?;
        let policy = if options.added {
            Some(c"never")
        } else {
            options.exit_policy
        };
        let registered = match (self.host.registered, options.life.detach) {
            (false, _) => Registered::No,
            (true, false) => Registered::Yes,
            (true, true) => Registered::Detached,
        };
        app.lower(policy, registered, options.several, self.plan)?;
        if self.host.wants.pipes {
            self.pipes(program)?;
        }
        if F::ALL && self.host.wants.streams {
            self.stream(program, registered)?;
        }
        self.listen(program)?;
        if app.asks(AppOption::PidNamespace) {
            self.pid_namespace();
        }
        if let Some(path) = options.status_directory.filter(|_| app.is_first()) {
            if !path.to_bytes().starts_with(b"/") {
                return Err(Error::new(What::ReadOption, path, Why::NotAbsolute));
            }
            self.plan.push(Step::Report { path });
        }
        let own_session = options.stage1 != Stage1::Fly;
        if own_session {
            let terminal = self.has_terminal();
            let flags = if terminal { Step::TERMINAL } else { 0 };
            self.plan.push(Step::AppSession { flags });
        }
        if let Some(mask) = who.umask.or(own_session.then_some(0o022)) {
            self.plan.push(Step::AppUmask { mask });
        }
        if let Some(path) = who.working_directory {
            common::working_directory(self.plan, path)?;
        }
        if self.host.wants.limits {
            self.limits(program)?;
        }
        let identity = match (who.user, who.group) {
            (None, None) => None,
            (user, group) => Some(user::resolve(program.rootfs, user.unwrap_or(c"0"), group)?),
        };
        if self.is_alone() {
            self.check_alone(identity.as_ref(), who.user, who.group)?;
        }
        self.filter(program, true)?;
        self.credentials(identity.as_ref(), program)?;
        if own_session {
            self.plan.push(Step::Unblock {});
        }
        self.filter(program, false)?;
        self.exec(program, identity.as_ref())
    }

    /// Without confinement nothing of the pod's /proc is hidden, and of a machine's.
    fn pid_namespace(&mut self) {
        self.plan
            .begin_list(Step::PidNamespace { names: List::EMPTY });
        if !self.options.insecure.has(Insecure::PATHS) && self.has_init() {
            for name in covered() {
                self.plan.string(name);
            }
        }
        self.plan.end();
    }

    /// Of the same limits the last one; resources first: some of them allow the others.
    fn limits(&mut self, program: &Program<'a, I>) -> Result<(), Error<'a>> {
        for wanted in [Kind::Limit, Kind::Nice, Kind::Processors, Kind::Scheduling] {
            let mut choices = program.each(self.options);
            while let Some(choice) = choices.take()? {
                let Choice::Limit(kind, text) = choice else {
                    continue;
                };
                if kind != wanted || choices.clone().limits(kind, text)? {
                    continue;
                }
                self.plan.push_limit(kind, text);
            }
        }
        Ok(())
    }

    /// The bounding set is limited already where pid 1 has no more than the
    /// apps; where the app is the process that was called, it does that itself.
    fn credentials(
        &mut self,
        identity: Option<&user::Identity>,
        program: &Program<'a, I>,
    ) -> Result<(), Error<'a>> {
        let insecure = self.options.insecure;
        let confined = !insecure.has(Insecure::CAPABILITIES);
        let root = identity.is_none_or(|identity| identity.user == 0);
        let changed = self.host.wants.changes;
        let choices = changed.then(|| program.each(self.options));
        let sets = Sets::of(confined, root, choices)?;
        if self.options.added {
            let mut needed = sets.bounding;
            let policies = &program.policies;
            if policies.asks(AppOption::PidNamespace) || policies.filters_early(insecure) {
                needed |= 1 << linux_raw_sys::general::CAP_SYS_ADMIN;
            }
            // Nobody has those that this kernel does not know.
            if needed & self.host.known & !self.held != 0 {
                return Err(Error::new(What::SetCapabilities, c"", Why::NotHeld));
            }
        }
        let limited = if confined && self.has_init() {
            self.held
        } else {
            capability::ALL
        };
        if limited & !sets.bounding != 0 {
            self.plan.push(Step::Bounding {
                keep: sets.bounding,
            });
        }
        self.groups(identity, program)?;
        if !root && sets.held != 0 && changed {
            self.plan.push(Step::KeepCapabilities {});
        }
        if let Some(identity) = identity {
            common::ids(self.plan, identity);
        }
        // setuid(2) to another user than root has emptied the sets.
        if !root && sets.held != 0 && changed {
            self.plan.push(Step::Ambient { keep: sets.held });
        } else if confined || changed {
            self.plan.push(Step::Capabilities { keep: sets.held });
        } else if self.host.inheritable {
            // All that is held; but none is inheritable (CVE-2022-29162), and
            // with that none ambient.
            self.plan.push(Step::Capabilities {
                keep: capability::ALL,
            });
        }
        if !program.policies.gains(insecure) {
            self.plan.push(Step::NoNewPrivileges {});
        }
        Ok(())
    }

    /// The supplementary groups.
    fn groups(
        &mut self,
        identity: Option<&user::Identity>,
        program: &Program<'a, I>,
    ) -> Result<(), Error<'a>> {
        match (program.who.groups, identity) {
            (groups, _) if self.is_alone() => {
                // setgroups(2) is denied: a group can't be dropped that forbids something.
                return groups.map_or(Ok(()), |groups| Err(only_caller(What::LookUpGroup, groups)));
            }
            (Some(groups), _) => {
                self.plan.begin_list(Step::Groups { ids: &[] });
                user::each_group(program.rootfs, groups, &mut |id| {
                    self.plan.bytes(&id.to_ne_bytes());
                })?;
                self.plan.end();
            }
            (None, Some(identity)) => common::groups(self.plan, identity.groups()),
            (None, None) if self.host.groups => common::groups(self.plan, &[]),
            (None, None) => {}
        }
        Ok(())
    }

    /// The variables of a login: the user's name, or number, and shell.
    fn login<'i>(&mut self, identity: Option<&'i user::Identity>, given: u8) {
        let text = |text: Option<&'i Short>| text.map_or(&b""[..], Short::as_bytes);
        let number = identity.map_or(0, |identity| identity.user);
        let digits = Digits::new(number.into(), 10);
        let name = match text(identity.map(|identity| &identity.name)) {
            b"" if number == 0 => b"root",
            b"" => digits.as_bytes(),
            name => name,
        };
        let shell = match text(identity.map(|identity| &identity.shell)) {
            b"" => b"/bin/sh",
            shell => shell,
        };
        for (bit, variable, value) in [
            (GIVEN_USER, &b"USER="[..], name),
            (GIVEN_LOGNAME, b"LOGNAME=", name),
            (GIVEN_SHELL, b"SHELL=", shell),
        ] {
            if given & bit == 0 {
                self.plan.joined(&[variable, value]);
            }
        }
    }

    fn has_init(&self) -> bool {
        // That of a machine keeps all capabilities: it switches the machine off.
        matches!(self.options.stage1, Stage1::Init(_)) && self.options.output.is_none()
    }

    fn exec(
        &mut self,
        program: &Program<'a, I>,
        identity: Option<&user::Identity>,
    ) -> Result<(), Error<'a>> {
        let words = program.words();
        // Without pid 1 the program is executed by stage0, a file of the host.
        let guarded =
            !self.options.insecure.has(Insecure::ALL) && self.options.stage1 == Stage1::Fly;
        self.plan.begin_list(Step::Exec {
            flags: if guarded { Step::GUARD } else { 0 },
            arguments: words.clone().count() as u64,
            strings: List::EMPTY,
        });
        self.plan.string(words.clone().next().unwrap_or_default());
        for word in words {
            self.plan.string(word);
        }
        let home = identity.and_then(|identity| identity.home);
        let home = match (&home, identity) {
            (Some(home), _) => home.as_bytes(),
            (None, Some(identity)) if identity.user != 0 => b"/",
            _ => b"/root",
        };
        let each = program.each(self.options);
        let given = each.clone().gives()?;
        let lacks = |name: u8| given & name == 0;
        if lacks(GIVEN_PATH) {
            self.plan.string(fly::launch::app::DEFAULT_PATH_VARIABLE);
        }
        if lacks(GIVEN_HOME) {
            self.plan.joined(&[b"HOME=", home]);
        }
        let app = &program.policies;
        self.login(identity, given);
        if lacks(GIVEN_NAME) {
            app.join(self.plan, b"AC_APP_NAME=");
        }
        if self.has_terminal() && lacks(GIVEN_TERM) {
            self.plan
                .joined(&[b"TERM=", self.host.term.unwrap_or(b"xterm")]);
        }
        if app.notifies() {
            app.join(self.plan, b"NOTIFY_SOCKET=/dev/shm/notify-");
        }
        self.passed_variables(program);
        let mut choices = each;
        while let Some(choice) = choices.take()? {
            if let Choice::SetVariable(variable) = choice
                && !choices.clone().sets(common::variable_name(variable))?
            {
                self.plan.string(variable);
            }
        }
        self.plan.end();
        Ok(())
    }
}
