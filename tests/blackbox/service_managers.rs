//! Pods as services: the files of docs/examples, under a booted systemd and under OpenRC.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use kickstage_tests::{
    TestResult,
    booted::Machine,
    command::{Run, program},
    requirement::Requirement,
    roots, tests,
};

tests![
    the_examples_are_valid,
    readiness_and_socket_activation,
    several_programs,
    how_it_ends,
    programs_that_do_not_stop,
    a_stage0_that_is_killed,
    a_delegated_cgroup,
    by_openrc,
];

const EXAMPLES: [(&str, &str); 4] = [
    ("web.socket", include_str!("../../docs/examples/web.socket")),
    (
        "web.service",
        include_str!("../../docs/examples/web.service"),
    ),
    (
        "worker.service",
        include_str!("../../docs/examples/worker.service"),
    ),
    (
        "limited.service",
        include_str!("../../docs/examples/limited.service"),
    ),
];

const OPENRC: &str = include_str!("../../docs/examples/web.openrc");

/// A machine with the example units.
fn machine() -> Result<Machine, kickstage_tests::Skip> {
    let machine = Machine::new()?;
    for (name, text) in EXAMPLES {
        machine.unit(name, text);
    }
    // A unit that is stopped is forgotten, with what it has to tell.
    for name in ["web", "worker"] {
        let end =
            "[Service]\nExecStopPost=/bin/sh -c 'echo $$SERVICE_RESULT $$EXIT_STATUS >/test/end'\n";
        machine.unit(&format!("{name}.service.d/end.conf"), end);
    }
    Ok(machine)
}

fn install(root: &Path, name: &str, script: &str) {
    let path = root.join("usr/bin").join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// What the scripts have in common.
const FUNCTIONS: &str = "
trap 'echo line $LINENO: $BASH_COMMAND >&2' ERR
get() { exec 9<>/dev/tcp/127.0.0.1/8080; cat <&9; exec 9>&-; }
show() { systemctl show --value -p \"$2\" \"$1\"; }
until_it_is() { while [ \"$(systemctl is-active \"$1\")\" != \"$2\" ]; do sleep 0.05; done; }
nothing_left() { [ -z \"$(pgrep -f '/[b]in/probe|stage[1]-init|stage[0] run')\" ]; }
";

fn boot(machine: &Machine, script: &str) -> kickstage_tests::command::Output {
    machine.boot(&format!("{FUNCTIONS}{script}"))
}

fn the_examples_are_valid() -> TestResult {
    let machine = machine()?;
    let output = boot(
        &machine,
        "cd /etc/systemd/system
        systemd-analyze verify --man=no web.socket web.service worker.service limited.service 2>&1",
    );
    output.code(0).printed("");
    Ok(())
}

/// The first connection starts the pod, which is active when it says so, and stopped by
/// SIGTERM.
fn readiness_and_socket_activation() -> TestResult {
    let machine = machine()?;
    let root = machine.pod_root("web")?;
    let server = "exec /bin/probe accept 3 one , accept 3 two , notify READY=1 , accept 3 three , sleep 600000";
    install(&root, "web", server);
    let output = boot(
        &machine,
        "systemctl start web.socket
        systemctl is-active web.service || true
        get; echo
        systemctl is-active web.service || true
        get; echo
        until_it_is web.service active
        get; echo
        cat /proc/$(show web.service MainPID)/comm
        systemctl stop web.socket web.service
        cat /test/end
        systemctl is-active web.service || true
        nothing_left",
    );
    output
        .code(0)
        .printed("inactive\none\nactivating\ntwo\nthree\nstage0\nsuccess 143\ninactive\n");
    Ok(())
}

/// Type=exec, an order of two programs, and a clean stop of both.
fn several_programs() -> TestResult {
    let machine = machine()?;
    let root = machine.pod_root("worker")?;
    // Who has begun can be stopped already.
    let script = |begin: &str| {
        format!("trap 'echo stopped; exit 0' TERM; {begin}; while true; do sleep 0.1; done")
    };
    install(&root, "cache", &script("touch /run/cache.ready"));
    install(&root, "worker", &script("echo works"));
    let output = boot(
        &machine,
        "systemctl start worker.service
        systemctl is-active worker.service
        until journalctl -t worker -o cat | grep works; do sleep 0.05; done
        systemctl stop worker.service
        cat /test/end
        journalctl --sync
        journalctl -t worker -o cat | grep stopped | sort
        nothing_left",
    );
    output
        .code(0)
        .printed("active\nworker: works\nsuccess 0\ncache: stopped\nworker: stopped\n");
    Ok(())
}

/// The program's code is the unit's; a pod that can't be started is not tried again.
fn how_it_ends() -> TestResult {
    let machine = machine()?;
    let root = machine.pod_root("worker")?;
    install(&root, "cache", "touch /run/cache.ready; sleep 600");
    machine.unit(
        "worker.service.d/restart.conf",
        "[Service]\nRestart=always\nRestartSec=1h\n",
    );
    let mut printed = String::new();
    let mut script = String::new();
    for (end, code, result, state) in [
        ("exit 7", "7", "exit-code", "activating"),
        ("kill -9 $$", "137", "exit-code", "activating"),
        ("exit 0", "0", "success", "activating"),
    ] {
        script.push_str(&format!(
            "printf '#!/bin/sh\\n{end}\\n' >/srv/worker/usr/bin/worker; chmod 755 /srv/worker/usr/bin/worker
            systemctl start worker.service
            while [ \"$(show worker.service SubState)\" != auto-restart ]; do sleep 0.05; done
            cat /test/end
            systemctl is-active worker.service || true
            systemctl stop worker.service\n"
        ));
        printed.push_str(&format!("{result} {code}\n{state}\n"));
    }
    script.push_str(
        "rm -r /srv/worker
        # It may have ended before systemd has seen that it was executed.
        systemctl start worker.service || true
        until_it_is worker.service failed
        cat /test/end; show worker.service NRestarts
        journalctl --sync; journalctl -t worker -o cat | grep '^stage0: '
        nothing_left\n",
    );
    printed.push_str(
        "exit-code 254\n0\nstage0: open /srv/worker: No such file or directory (it must exist on the host)\n",
    );
    boot(&machine, &script).code(0).printed(&printed);
    Ok(())
}

/// When TimeoutStopSec is over all of the pod is killed.
fn programs_that_do_not_stop() -> TestResult {
    let machine = machine()?;
    let root = machine.pod_root("worker")?;
    install(
        &root,
        "cache",
        "touch /run/cache.ready; exec /bin/probe ignore TERM , sleep 600000",
    );
    install(
        &root,
        "worker",
        "exec /bin/probe ignore TERM , sleep 600000",
    );
    machine.unit(
        "worker.service.d/stop.conf",
        "[Service]\nTimeoutStopSec=300ms\n",
    );
    let output = boot(
        &machine,
        "systemctl start worker.service
        until [ \"$(pgrep -c -f 'probe ignore')\" = 2 ]; do sleep 0.05; done
        systemctl stop worker.service
        cat /test/end
        systemctl is-active worker.service || true
        nothing_left",
    );
    output.code(0).printed("timeout KILL\nfailed\n");
    Ok(())
}

/// The pod dies with its stage0, and systemd starts another one.
fn a_stage0_that_is_killed() -> TestResult {
    let machine = machine()?;
    let root = machine.pod_root("web")?;
    install(
        &root,
        "web",
        "exec /bin/probe notify READY=1 , sleep 600000",
    );
    machine.unit("web.service.d/restart.conf", "[Service]\nRestartSec=10ms\n");
    let output = boot(
        &machine,
        "systemctl start web.service
        before=$(show web.service MainPID)
        systemctl kill --signal=KILL --kill-whom=main web.service
        while [ \"$(show web.service NRestarts)\" = 0 ]; do sleep 0.05; done
        until_it_is web.service active
        [ \"$(show web.service MainPID)\" != $before ]
        pgrep -c -f 'probe notify'
        systemctl stop web.service web.socket
        nothing_left",
    );
    output.code(0).printed("1\n");
    Ok(())
}

/// With a filter of devices in place of limits, whose controllers need not be of version 2
/// on this machine.
fn a_delegated_cgroup() -> TestResult {
    let machine = machine()?;
    let root = machine.pod_root("limited")?;
    install(&root, "job", "exec /bin/probe sleep 600000");
    let start = "[Service]\nExecStart=\nExecStart=/usr/local/bin/stage0 run --rootfs /srv/limited --ephemeral \
        --device /dev/full -- /usr/bin/job\n";
    machine.unit("limited.service.d/device.conf", start);
    let output = boot(
        &machine,
        "systemctl start limited.service
        until pgrep -f 'probe sleep' >/test/pid; do sleep 0.05; done
        cd /sys/fs/cgroup/system.slice/limited.service
        [ $(cat supervisor/cgroup.procs) = $(show limited.service MainPID) ]
        cat cgroup.procs
        grep -qx $(cat /test/pid) pod-*/cgroup.procs
        cd /
        systemctl stop limited.service
        [ ! -e /sys/fs/cgroup/system.slice/limited.service ]
        nothing_left",
    );
    output.code(0).printed("");
    Ok(())
}

/// OpenRC's scripts run without its init if /run says that it has booted.
fn by_openrc() -> TestResult {
    Requirement::Openrc.require()?;
    let folder = roots::directory("openrc");
    let root = roots::busybox()?;
    fs::create_dir_all(root.join("usr/bin")).expect("a directory");
    install(
        &root,
        "web",
        "trap 'echo stopped; exit 0' TERM; echo started; while true; do sleep 0.1; done",
    );
    fs::write(folder.join("web"), OPENRC).expect("a script");
    fs::set_permissions(folder.join("web"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let script = "set -e
        mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/log; mount -t tmpfs tmpfs /usr/local/bin
        mount -t tmpfs tmpfs /srv; mkdir /srv/web; mount --bind \"$2\" /srv/web
        cp \"$1\"/stage0 \"$1\"/stage1-init /usr/local/bin
        mount -t tmpfs tmpfs /etc/init.d; cp \"$0/web\" /etc/init.d
        mkdir -p /run/openrc/{starting,started,stopping,inactive,wasinactive,failed,hotplugged,daemons,options,exclusive,scheduled,tmp}; echo default >/run/openrc/softlevel
        run() { openrc-run /etc/init.d/web --nodeps --nocolor \"$1\"; }
        run start
        until grep started /var/log/web.log; do sleep 0.05; done
        run status
        run stop
        grep stopped /var/log/web.log
        run status || echo code $?
        ! pgrep -f 'stage[0] run'";
    let output = Run::new("unshare")
        .args([
            "--mount",
            "--propagation=private",
            "/bin/bash",
            "-c",
            script,
        ])
        .arg(&folder)
        .arg(program("stage0").parent().expect("a folder"))
        .arg(&root)
        .output();
    output
        .code(0)
        .has("started\n")
        .has("status: started")
        .has("stopped\n")
        .has("code 3\n");
    Ok(())
}
