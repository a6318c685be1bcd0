package house_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// stage is a machine that has only the programs it is given. All of them write down how they were called.
func stage(t *testing.T, uid string, programs ...string) (path, log string) {
	t.Helper()
	path = t.TempDir()
	log = filepath.Join(path, "log")
	write := func(name, script string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(path, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write("id", "echo "+uid)
	write("uname", "echo Linux")
	write("env", `while case $1 in *=*) true ;; *) false ;; esac; do shift; done; exec "$@"`)
	for _, p := range programs {
		write(p, `echo `+p+` "$@" >>`+log+"\n")
	}
	if strings.Contains(strings.Join(programs, " "), "sudo") {
		write("sudo", `echo sudo "$@" >>`+log+"\n"+`[ "$1" = -n ] && shift; exec "$@"`)
	}
	return path, log
}

// TestBootstrap shows which packages are asked for, on each kind of system.
func TestBootstrap(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the script installs on Linux only")
	}
	for _, c := range []struct {
		name, uid, flag string
		programs        []string
		calls           string
		fails           bool
	}{
		{"nothing is missing", "1000", "--optional", []string{"go", "fusermount3", "sudo", "apt-get"}, "", false},
		{"debian, as root", "0", "--optional", []string{"go", "apt-get"}, "apt-get install -y --no-install-recommends fuse3", false},
		{"fedora, with sudo", "1000", "--optional", []string{"go", "sudo", "dnf"}, "sudo -n dnf install -y fuse3", false},
		{"arch", "0", "--optional", []string{"go", "pacman"}, "pacman -S --noconfirm --needed fuse3", false},
		{"alpine", "0", "--optional", []string{"go", "apk"}, "apk add fuse3 fuse3-libs", false},
		{"suse", "0", "--optional", []string{"go", "zypper"}, "zypper --non-interactive install fuse3", false},
		{"no way to become root", "1000", "--optional", []string{"go", "apt-get"}, "", false},
		{"no way to become root, and it matters", "1000", "--ci", []string{"go", "apt-get"}, "", true},
		{"an unknown system", "0", "--ci", []string{"go"}, "", true},
		{"no go", "0", "--ci", []string{"fusermount3", "cc", "make"}, "", true},
		{"a bare machine for tests", "0", "--ci", []string{"go", "apt-get"},
			"apt-get install -y --no-install-recommends fuse3 make gcc libc6-dev openssh-client openssh-server", false},
		{"a wrong flag", "0", "--wrong", []string{"go"}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, log := stage(t, c.uid, c.programs...)
			script, err := filepath.Abs(filepath.Join(top, "scripts", "bootstrap"))
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/bin/sh", script, c.flag)
			cmd.Env = []string{"PATH=" + path}
			said, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if (err != nil) != c.fails {
				t.Errorf("%v\n%s", err, said)
			}
			calls, err := os.ReadFile(log)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if got := strings.Split(string(calls), "\n")[0]; got != c.calls {
				t.Errorf("called %q, want %q\n%s", got, c.calls, said)
			}
		})
	}
}
