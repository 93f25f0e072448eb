//! Options that go together, and those that do not.

use core::ffi::CStr;

use fly::error::{Advice, Error, What, Why};

use super::{Choice, Ipc, Limit, Network, Options, PrivateUsers, Stage1};

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    pub(super) fn check(&self) -> Result<(), Error<'a>> {
        let failed = |why: Why| {
            Err(Error::new(What::Read, c"the command line", why).advice(Advice::SeeHelp))
        };
        if self.rootfs.is_empty() && !self.several {
            return failed(Why::NoRootfs);
        }
        if self.programs.clone().next().is_none() && !self.app_options {
            return failed(Why::NoProgramNamed);
        }
        self.check_several()?;
        self.check_machine()?;
        self.check_limits()?;
        self.check_life()?;
        if self.hold {
            self.check_hold()?;
        }
        if !matches!(self.private_users, None | Some(PrivateUsers::No))
            && !matches!(self.stage1, Stage1::Init(_))
        {
            let option = c"--private-users";
            return Err(Error::new(What::ReadOption, option, Why::OnlyInit));
        }
        if self.stage1 == Stage1::Fly {
            let conflict = if self.hostname.is_some() {
                Some(c"--hostname")
            } else if self.cgroup.is_some() {
                Some(c"--cgroup")
            } else if let Some(option) = self.limits.first() {
                Some(option)
            } else if self.network != Network::Host {
                Some(c"--net")
            } else if self.ipc == Ipc::Private {
                Some(c"--ipc=private")
            } else if let Some(option) = self.names.written() {
                Some(option)
            } else if self.terminal == Some(true) {
                Some(c"--tty")
            } else if self.programs.clone().any(|word| word == c"---") {
                Some(c"---")
            } else if self.exit_policy.is_some() {
                Some(c"--exit-policy")
            } else if self.status_directory.is_some() {
                Some(c"--status-dir")
            } else if self.pod_directory.is_some() {
                Some(c"--pod-dir")
            } else if let Some(option) = self.life.registers() {
                Some(option)
            } else if self.life.timeout != 0 {
                Some(c"--timeout")
            } else if self.app_options {
                Some(c"--name, --restart and the like")
            } else {
                None
            };
            if let Some(option) = conflict {
                return Err(Error::new(What::ReadOption, option, Why::NotWithFly));
            }
        }
        Ok(())
    }

    /// Nobody stays with a pod that is parked.
    #[cold]
    fn check_hold(&self) -> Result<(), Error<'a>> {
        let failed = |option, why| Err(Error::new(What::ReadOption, option, why));
        if self.pod_directory.is_none() {
            return failed(c"--hold", Why::NoPodDirectory);
        }
        if !matches!(self.stage1, Stage1::Init(_)) {
            return failed(c"--hold", Why::OnlyInit);
        }
        let conflict = if self.terminal == Some(true) {
            c"--tty"
        } else if self.timings.is_some() {
            c"--timings"
        } else if self.output.is_some() {
            c"--output"
        } else if self.life.timeout != 0 {
            c"--timeout"
        } else {
            return Ok(());
        };
        failed(conflict, Why::NotWithHold)
    }

    /// Limits are those of a cgroup of the pod's own, which stage0 removes.
    fn check_limits(&self) -> Result<(), Error<'a>> {
        let failed = |option, why| Err(Error::new(What::ReadOption, option, why));
        match (self.limits.first(), self.stage1) {
            (None, _) if self.cgroup_parent.is_some() => {
                failed(c"--cgroup-parent", Why::ParentUnused)
            }
            (Some(_), _) if self.cgroup.is_some() => failed(c"--cgroup", Why::NotWithLimits),
            (Some(option), Stage1::Other(_)) => failed(option, Why::OnlyInit),
            _ if self.limits.get(Limit::Swap).is_some()
                && self.limits.get(Limit::Memory).is_none() =>
            {
                failed(c"--memory-swap", Why::NeedsMemory)
            }
            _ => Ok(()),
        }
    }

    /// A pod has one directory, where its uuid says or where it was told.
    fn check_life(&self) -> Result<(), Error<'a>> {
        match (self.life.registers(), self.stage1) {
            (Some(option), Stage1::Other(_)) => {
                Err(Error::new(What::ReadOption, option, Why::OnlyInit))
            }
            (Some(option), _) if self.pod_directory.is_some() => Err(Error::new(
                What::ReadOption,
                option,
                Why::NotWithPodDirectory,
            )),
            _ if self.life.detach && self.terminal == Some(true) => {
                Err(Error::new(What::ReadOption, c"--tty", Why::NotWithDetach))
            }
            _ => Ok(()),
        }
    }

    /// A machine has one root and no pod around it.
    fn check_machine(&self) -> Result<(), Error<'a>> {
        if self.output.is_none() {
            return Ok(());
        }
        let mut conflict = if self.cgroup.is_some() {
            Some(c"--cgroup")
        } else if let Some(option) = self.limits.first() {
            Some(option)
        } else if self.oom_score.is_some() {
            Some(c"--oom-score-adj")
        } else if self.pod_directory.is_some() {
            Some(c"--pod-dir")
        } else if let Some(option) = self.life.registers() {
            Some(option)
        } else if self.life.timeout != 0 {
            Some(c"--timeout")
        } else if self.network != Network::Host {
            Some(c"--net")
        } else if self.ipc != Ipc::Auto {
            Some(c"--ipc")
        } else if !matches!(self.private_users, None | Some(PrivateUsers::No)) {
            Some(c"--private-users")
        } else if self.read_only_root {
            Some(c"--readonly-rootfs")
        } else if self.ephemeral {
            Some(c"--ephemeral")
        } else if self.terminal == Some(true) {
            Some(c"--tty")
        } else if self.timings.is_some() {
            Some(c"--timings")
        } else if self.stage1 != Stage1::Init(None) {
            Some(c"--stage1")
        } else {
            None
        };
        let mut choices = self.each();
        while let Some(choice) = choices.take()? {
            match choice {
                Choice::Volume(_) => conflict = Some(c"--volume"),
                Choice::Mount(_) => conflict = Some(c"--mount"),
                Choice::Tmpfs(_) => conflict = Some(c"--tmpfs"),
                Choice::Name(option, _) => conflict = Some(option.name()),
                _ => {}
            }
        }
        if self.several {
            conflict = Some(c"a root of its own");
        } else if !self.rootfs.to_bytes().starts_with(b"/") {
            return Err(Error::new(What::ReadOption, c"--rootfs", Why::NotAbsolute));
        }
        match conflict {
            Some(option) => Err(Error::new(What::ReadOption, option, Why::NotForMachine)),
            None => Ok(()),
        }
    }
}
