//go:build linux

package fusefs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"ensync/fusefs"
	"ensync/fusefs/conformance"
	"ensync/fusefs/fusetest"
)

// nobody is an ordinary user.
const nobody = 65534

// TestConformance asks mounts, in processes that do not serve them: root one that lets others in and one that does not,
// a user one of root's and one of his own, through fusermount3.
func TestConformance(t *testing.T) {
	if dir := os.Getenv("FUSEFS_TEST_CONFORMANCE"); dir != "" {
		conformance.Run(t, dir)
		return
	}
	others := fusefs.Options{AllowOther: true}
	for _, c := range []struct {
		name string
		tree func(*testing.T) fusefs.Tree
		opt  fusefs.Options
		uid  int
	}{
		{"root", newWorktree, others, 0},
		{"root, uncached", newWorktree, fusefs.Options{AllowOther: true, NoCache: true}, 0},
		{"root, alone", newWorktree, fusefs.Options{}, 0},
		{"user", newWorktree, others, nobody},
		{"memory", func(*testing.T) fusefs.Tree { return fusetest.New() }, others, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if os.Getuid() != 0 && (c.opt.AllowOther || c.uid != 0) {
				t.Skip("only root lets others in without further ado")
			}
			point := mount(t, c.tree(t), c.opt).MountPoint()
			must(t, os.Chmod(filepath.Dir(point), 0755))
			dir := filepath.Join(point, "d")
			must(t, os.Mkdir(dir, 0755))
			must(t, os.Chown(dir, c.uid, c.uid))
			asProcess(t, c.uid, "FUSEFS_TEST_CONFORMANCE="+dir, "^TestConformance$")
		})
	}
}

// asProcess runs a test of this program as a user, in a process of its own with something in its environment.
func asProcess(t *testing.T, uid int, env, test string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run", test)
	cmd.Env = append(os.Environ(), env)
	if uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if !regexp.MustCompile(`(?m)^--- PASS: `+test[1:len(test)-1]).Match(out) || err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, skipped := range regexp.MustCompile(`(?m)^ *--- SKIP.*\n.*`).FindAllString(string(out), -1) {
		t.Log(skipped)
	}
}

// TestOfUser mounts as an ordinary user, through fusermount3, and lets him ask the mount; root is kept out.
func TestOfUser(t *testing.T) {
	if os.Getenv("FUSEFS_TEST_USER") != "" {
		ofUser(t)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("TestConformance is what this is when root runs it")
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skip("an ordinary user needs fusermount3")
	}
	if st, err := os.Stat("/dev/fuse"); err != nil || st.Mode().Perm()&6 != 6 {
		t.Skipf("/dev/fuse is root's alone here (%v)", err)
	}
	asProcess(t, nobody, "FUSEFS_TEST_USER=1", "^TestOfUser$")
}

// ofUser is what the user does.
func ofUser(t *testing.T) {
	conf, _ := os.ReadFile("/etc/fuse.conf")
	if !regexp.MustCompile(`(?m)^user_allow_other$`).Match(conf) {
		_, err := fusefs.Mount(t.Context(), fusetest.New(), fusefs.Options{MountPoint: t.TempDir(), AllowOther: true})
		if err == nil || !strings.Contains(err.Error(), "user_allow_other") {
			t.Errorf("letting others in, which root has not allowed: %v", err)
		}
	}
	dir := mount(t, newWorktree(t), fusefs.Options{}).MountPoint()
	asProcess(t, nobody, "FUSEFS_TEST_CONFORMANCE="+dir, "^TestConformance$")
}
