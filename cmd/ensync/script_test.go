package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ensync": main, mountHelperName: main, eventsName: main})
}

// scriptCommands are those that scripts have beside the usual ones.
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){"xattr": xattrCommand, "listen": listenCommand}

// TestScripts runs the stories in testdata/script at the top of the module.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   filepath.Join("..", "..", "testdata", "script"),
		Setup: setUpScript,
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "fuse":
				return canMount(), nil
			case "keyring":
				return hasKeyring(), nil
			case "owners":
				return keepsOwners(), nil
			case "xattr":
				return hasAttributes(t.TempDir()), nil
			}
			return false, fmt.Errorf("no condition is called %q", cond)
		},
		Cmds:                scriptCommands,
		RequireExplicitExec: true,
	})
}

// hasAttributes reports whether a directory can have extended attributes of users.
func hasAttributes(dir string) bool { return unix.Setxattr(dir, "user.test", []byte("1"), 0) == nil }

// setUpScript gives each script a home of its own, and passphrases that are long enough to be stretched quickly.
func setUpScript(env *testscript.Env) error {
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
	env.Setenv("XDG_RUNTIME_DIR", filepath.Join(env.WorkDir, "run"))
	env.Setenv("ENSYNC_CONFIG", "")
	for _, dir := range []string{"home", "cache", "run"} {
		if err := os.Mkdir(filepath.Join(env.WorkDir, dir), 0o700); err != nil {
			return err
		}
	}
	env.Defer(func() { unmountBelow(env.WorkDir) })
	for _, name := range []string{"one", "two", "three", "four"} {
		pass := strings.Repeat(name+" is a long passphrase, ", 16)
		if err := os.WriteFile(filepath.Join(env.WorkDir, "pass-"+name), []byte(pass+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// unmountBelow takes away what a script that failed left mounted; its process then ends by itself.
func unmountBelow(dir string) {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for _, m := range ourMounts() {
		if strings.HasPrefix(m.dir, dir+"/") {
			unix.Unmount(m.dir, unix.MNT_FORCE)
		}
	}
}

// canMount reports whether this machine lets us mount.
func canMount() bool {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return os.Geteuid() == 0 && f.Close() == nil
}
