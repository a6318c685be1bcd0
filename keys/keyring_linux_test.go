package keys

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKeyring(t *testing.T) {
	name := fmt.Sprintf("ensync-test-%d", os.Getpid())
	spec := source(t, "keyring:"+name, "/")
	if err := Remember(name, long("a"), time.Minute); err != nil {
		t.Skip("no keyrings here:", err)
	}
	t.Cleanup(func() { Forget(name) })
	read := func() (string, error) {
		pass, err := spec.Read(ctx, nil, "")
		return string(pass), err
	}
	if pass, err := read(); err != nil || pass != string(long("a")) {
		t.Errorf("%q, %v", pass, err)
	}
	if err := Remember(name, []byte("another\n"), time.Second); err != nil {
		t.Fatal(err)
	}
	if pass, err := read(); err != nil || pass != "another" {
		t.Errorf("remembered anew: %q, %v", pass, err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := read()
		if err != nil {
			// The kernel takes an expired key away sooner or later.
			if !strings.Contains(err.Error(), "time has run out") && !strings.Contains(err.Error(), "of that name") {
				t.Error(err)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("it did not expire")
		}
	}
	if err := errors.Join(Remember(name, long("b"), 0), Forget(name), Forget(name)); err != nil {
		t.Fatal(err)
	}
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "ensync key remember "+name) {
		t.Errorf("forgotten: %v", err)
	}
	for err, want := range map[error]string{unix.EKEYREVOKED: "revoked", unix.EACCES: "does not let", unix.EPERM: "another source"} {
		if text := keyringError(name, err).Error(); !strings.Contains(text, want) {
			t.Errorf("%v: %s", err, text)
		}
	}
}
