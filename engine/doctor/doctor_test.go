package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/store/backend"
	"ensync/store/backend/memory"
	"ensync/store/s3/s3test"
)

var pass = []byte(strings.Repeat("correct horse battery staple ", 10))

// inBucket returns the configuration of a store in a bucket.
func inBucket(t *testing.T, s *s3test.Server) *config.Config {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{"HOME": home, "AWS_ACCESS_KEY_ID": s3test.ID, "AWS_SECRET_ACCESS_KEY": s3test.Secret,
		"AWS_PROFILE": "", "AWS_REGION": "", "ENSYNC_CACHE_DIR": filepath.Join(home, "cache")} {
		t.Setenv(name, value)
	}
	tree := filepath.Join(home, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	set := config.Default(tree, "s3:http://"+s.Endpoint()+"/"+s3test.Bucket+"/prefix", "prompt")
	if err := config.Write(filepath.Join(home, "config"), set); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(filepath.Join(home, "config"))
	if err != nil {
		t.Fatal(err)
	}
	st, err := session.CreateStore(t.Context(), cfg, pass, "key", session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.CreateRoot(t.Context(), cfg.General.ServerRoot, 0o755)
	if err = errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// examine returns what was found, one line a finding.
func examine(t *testing.T, cfg *config.Config) string {
	t.Helper()
	var all strings.Builder
	err := Examine(t.Context(), cfg, Options{Pass: func(context.Context) ([]byte, error) { return append([]byte{}, pass...), nil },
		Report: func(f Finding) { fmt.Fprintf(&all, "%s %s: %s; %s\n", f.Level, f.Check, f.Says, f.Next) }})
	if err != nil {
		t.Error(err)
	}
	return all.String()
}

func says(t *testing.T, found string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(found, w) {
			t.Errorf("%q is not among\n%s", w, found)
		}
	}
}

const rule = `<Rule><ID>%s</ID><Status>Enabled</Status><Filter><Prefix>%s</Prefix></Filter>%s</Rule>`

// TestBucket: what a bucket would do to the store is found, whatever a server answers; and nothing is left.
func TestBucket(t *testing.T) {
	s := s3test.Start(t)
	cfg := inBucket(t, s)
	before := strings.Join(s.Keys(), " ")
	says(t, examine(t, cfg), "ok connection: ", "ok clock: ", "ok lifecycle rules: ", "ok versioning: ", "ok object lock: ", "ok format: ",
		"ok copy of the keys: ", "ok self-test: ", "ok passphrase: ", "ok tree in the store: root is empty", "ok objects: ")
	for _, c := range []struct {
		name    string
		answers map[string]string
		want    []string
	}{
		{"expiry of all", map[string]string{"lifecycle": "<LifecycleConfiguration>" + fmt.Sprintf(rule, "tidy", "", "<Expiration><Days>30</Days></Expiration>") + "</LifecycleConfiguration>"},
			[]string{`fail lifecycle rules: rule "tidy" deletes objects after 30 days`, "delete-bucket-lifecycle --bucket " + s3test.Bucket}},
		{"expiry of others", map[string]string{"lifecycle": "<LifecycleConfiguration>" + fmt.Sprintf(rule, "tidy", "logs/", "<Expiration><Days>30</Days></Expiration>") + "</LifecycleConfiguration>"},
			[]string{"ok lifecycle rules: none touches the store"}},
		{"archive of packs", map[string]string{"lifecycle": "<LifecycleConfiguration>" + fmt.Sprintf(rule, "cold", "prefix/packs/",
			"<Transition><Days>9</Days><StorageClass>GLACIER</StorageClass></Transition>") + "</LifecycleConfiguration>"},
			[]string{`fail lifecycle rules: rule "cold" moves objects to GLACIER after 9 days`}},
		{"a listing instead", map[string]string{"lifecycle": "<ListBucketResult></ListBucketResult>"}, []string{"ok lifecycle rules: the server has no such setting"}},
		{"versions", map[string]string{"versioning": "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"}, []string{"ok versioning: on"}},
		{"suspended", map[string]string{"versioning": "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"}, []string{"warn versioning: suspended"}},
		{"lock", map[string]string{"object-lock": "<ObjectLockConfiguration><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>7</Days></DefaultRetention></Rule></ObjectLockConfiguration>"},
			[]string{"warn object lock: ", "COMPLIANCE, 7 days"}},
	} {
		s.Answers = maps.Clone(c.answers)
		found := examine(t, cfg)
		says(t, found, c.want...)
		says(t, found, "ok self-test: ")
	}
	if after := strings.Join(s.Keys(), " "); after != before {
		t.Errorf("left: %s\nbefore: %s", after, before)
	}
}

// TestBucketIsIll: a server that lies, hides its settings, refuses, or is not there.
func TestBucketIsIll(t *testing.T) {
	s := s3test.Start(t)
	cfg := inBucket(t, s)
	s.Skew = -time.Hour
	says(t, examine(t, cfg), "fail clock: the clock of the store is 1h0m")
	s.Skew = 0
	s.Lies = s3test.Lies{IgnoreIfMatch: true}
	says(t, examine(t, cfg), "fail self-test: this server can't hold a store: conditional writes")
	s.Lies = s3test.Lies{}
	s.SetFault(func(_ int, r *http.Request) s3test.Fault {
		if q := r.URL.Query(); q.Has("lifecycle") || q.Has("versioning") || q.Has("object-lock") {
			return s3test.Denied
		}
		return s3test.None
	})
	says(t, examine(t, cfg), "warn lifecycle rules: these credentials may not see it; allow s3:GetLifecycleConfiguration", "warn versioning: ", "ok self-test: ")
	s.SetFault(func(int, *http.Request) s3test.Fault { return s3test.Denied })
	says(t, examine(t, cfg), "fail connection: ")
	s.SetFault(func(int, *http.Request) s3test.Fault { return s3test.BucketGone })
	says(t, examine(t, cfg), "fail connection: ")
}

// liar breaks one promise.
type liar struct {
	backend.Backend
	overwrites, swapsBlindly, hides bool
}

func (l liar) Put(ctx context.Context, name string, data []byte) error {
	err := l.Backend.Put(ctx, name, data)
	if l.overwrites && errors.Is(err, backend.ErrExist) {
		return nil
	}
	return err
}

func (l liar) Swap(ctx context.Context, name string, old backend.Version, data []byte) (backend.Version, error) {
	v, err := l.Backend.Swap(ctx, name, old, data)
	if l.swapsBlindly && errors.Is(err, backend.ErrChanged) {
		return "1", nil
	}
	return v, err
}

func (l liar) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	if l.hides {
		return nil
	}
	return l.Backend.List(ctx, prefix, fn)
}

// TestSelfTest: a place that breaks a promise is found out, one that keeps all passes, and nothing is left.
func TestSelfTest(t *testing.T) {
	for want, b := range map[string]liar{"": {}, "were told that they did": {overwrites: true}, "at once were told": {swapsBlindly: true},
		"not listed": {hides: true}} {
		space := memory.New()
		b.Backend = space
		tr := &trial{b: b}
		err := tr.run(t.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v; want %q", err, want)
		}
		if err := space.List(t.Context(), "", func(i backend.Info) error {
			if !b.hides {
				t.Errorf("left: %s", i.Name)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}
