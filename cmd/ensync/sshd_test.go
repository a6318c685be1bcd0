package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestSSH runs the stories in testdata/script/ssh, in which a real sshd on this machine is the other machine.
func TestSSH(t *testing.T) {
	if testing.Short() {
		t.Skip("dozens of ssh connections take many seconds")
	}
	for _, name := range []string{"ssh", "ssh-keygen", "sshd"} {
		if _, err := findProgram(name); err == nil {
			continue
		}
		if os.Getenv("CI") != "" || os.Getenv("ENSYNC_TEST_ALL") != "" {
			t.Fatalf("%s is missing; run scripts/bootstrap --ci", name)
		}
		t.Skipf("%s is missing; scripts/bootstrap --ci installs it", name)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("..", "..", "testdata", "script", "ssh"),
		Setup: func(env *testscript.Env) error {
			if err := setUpScript(env); err != nil {
				return err
			}
			return startSSHD(env)
		},
		RequireExplicitExec: true,
	})
}

// findProgram finds programs that only administrators have in PATH, too.
func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + name)
}

// roles are the hosts that scripts know, and what sshd runs for each: in a directory of this test's own as its home.
var roles = map[string]string{
	// a POSIX shell, with ensync in PATH
	"box": `exec sh -c "${SSH_ORIGINAL_COMMAND:-sh}"`,
	// the same, whose start-up files greet everybody
	"chatty": `echo 'Welcome!'; printf 'no newline'; exec sh -c "${SSH_ORIGINAL_COMMAND:-sh}"`,
	// the same without ensync in PATH
	"bare": `PATH=/usr/bin:/bin; exec sh -c "${SSH_ORIGINAL_COMMAND:-sh}"`,
	// ensync as the login shell: this is how sshd runs one
	"served": `exec ensync -c "$SSH_ORIGINAL_COMMAND"`,
	// a server that key may not be used for anything else
	"appending": `exec ensync server --append-only vault`,
	// no shell at all
	"refused": `echo 'This account is currently not available.'; exit 1`,
}

// startSSHD starts a server for one script, with throw-away keys, and puts an ssh into PATH that knows it.
func startSSHD(env *testscript.Env) error {
	dir := filepath.Join(env.WorkDir, "sshd")
	remote := filepath.Join(env.WorkDir, "remote")
	for _, d := range []string{dir, remote, filepath.Join(dir, "bin")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where sshd of a system is privileged to be locked in
			return err
		}
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	key := func(name string) string { return filepath.Join(dir, name) }
	client := fmt.Sprintf("Host *\nHostName 127.0.0.1\nPort %d\nUserKnownHostsFile %s\nIdentitiesOnly yes\nBatchMode yes\nLogLevel ERROR\nIdentityAgent none\n"+
		"StrictHostKeyChecking yes\n", port, key("known_hosts"))
	authorized := ""
	for role, command := range roles {
		if err := keygen(key(role)); err != nil {
			return err
		}
		public, err := os.ReadFile(key(role) + ".pub")
		if err != nil {
			return err
		}
		command = fmt.Sprintf("export HOME=%s PATH=%s; cd; %s", remote, env.Getenv("PATH"), command)
		authorized += fmt.Sprintf("command=%q %s", command, public)
		client = fmt.Sprintf("Host %s\nIdentityFile %s\n", role, key(role)) + client
	}
	if err := keygen(key("host")); err != nil {
		return err
	}
	public, err := os.ReadFile(key("host.pub"))
	if err != nil {
		return err
	}
	server := fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPidFile none\n"+
		"PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel ERROR\nMaxStartups 100\n",
		port, key("host"), key("authorized_keys"))
	ssh, err := findProgram("ssh")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"known_hosts":     fmt.Sprintf("[127.0.0.1]:%d %s", port, public),
		"authorized_keys": authorized,
		"ssh_config":      client,
		"sshd_config":     server,
		"bin/ssh":         fmt.Sprintf("#!/bin/sh\necho \"$@\" >>%s\nexec %s -F %s \"$@\"\n", key("called"), ssh, key("ssh_config")),
	} {
		if err := os.WriteFile(key(name), []byte(text), 0o700); err != nil {
			return err
		}
	}
	env.Setenv("SSH_PORT", fmt.Sprint(port))
	env.Setenv("PATH", key("bin")+":"+env.Getenv("PATH"))
	return runSSHD(env, key("sshd_config"), port)
}

func keygen(path string) error {
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// runSSHD runs sshd until the script's end, and returns when it listens.
func runSSHD(env *testscript.Env, config string, port int) error {
	path, err := findProgram("sshd")
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil { // sshd runs itself again
		return err
	}
	var said strings.Builder
	cmd := exec.Command(path, "-D", "-e", "-f", config)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return err
	}
	env.Defer(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 100 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("sshd does not listen: %s", said.String())
}
