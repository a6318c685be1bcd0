package s3

import (
	"errors"
	"strings"
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/s3/s3test"
)

func TestLifecycle(t *testing.T) {
	rule := func(inner string) string { return "<Rule><ID>r</ID><Status>Enabled</Status>" + inner + "</Rule>" }
	days := "<Expiration><Days>30</Days></Expiration>"
	for name, c := range map[string]struct {
		rules, want string // "" nothing; "!" is harm
	}{
		"none":                {"", ""},
		"whole bucket":        {rule(days), "! deletes objects after 30 days"},
		"empty filter":        {rule("<Filter/>" + days), "! deletes objects after 30 days"},
		"our prefix":          {rule("<Filter><Prefix>a/prefix/</Prefix></Filter>" + days), "! deletes objects after 30 days"},
		"above":               {rule("<Prefix>a/</Prefix>" + days), "! deletes objects after 30 days"},
		"below":               {rule("<Filter><And><Prefix>a/prefix/packs/</Prefix></And></Filter>" + days), "! deletes objects after 30 days"},
		"beside":              {rule("<Filter><Prefix>b/</Prefix></Filter>" + days), ""},
		"beside, in And":      {rule("<Filter><And><Prefix>a/prefixes</Prefix></And></Filter>" + days), ""},
		"tagged":              {rule("<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>" + days), ""},
		"disabled":            {strings.Replace(rule(days), "Enabled", "Disabled", 1), ""},
		"date":                {rule("<Expiration><Date>2027-01-01</Date></Expiration>"), "! deletes objects on 2027-01-01"},
		"delete markers":      {rule("<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"), ""},
		"unfinished uploads":  {rule("<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), ""},
		"archive":             {rule("<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"), "! moves objects to GLACIER after 1 days"},
		"cheaper":             {rule("<Transition><Days>1</Days><StorageClass>STANDARD_IA</StorageClass></Transition>"), "moves objects to STANDARD_IA after 1 days"},
		"old versions, soon":  {rule("<NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays></NoncurrentVersionExpiration>"), "lets what was deleted by mistake be had back for 3 days only"},
		"old versions, later": {rule("<NoncurrentVersionExpiration><NoncurrentDays>90</NoncurrentDays></NoncurrentVersionExpiration>"), ""},
	} {
		s := s3test.Start(t)
		s.Answers = map[string]string{"lifecycle": "<LifecycleConfiguration>" + c.rules + "</LifecycleConfiguration>"}
		found, err := client(t, s, nil).Lifecycle(t.Context())
		got := ""
		for _, r := range found {
			if got += r.Does; r.Harm {
				got = "! " + got
			}
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// TestSettings: what no server of this kind can tell is not taken for "nothing is set".
func TestSettings(t *testing.T) {
	s := s3test.Start(t)
	c := client(t, s, nil)
	if _, err := c.Lifecycle(t.Context()); !errors.Is(err, ErrUnsupported) {
		t.Errorf("501: %v", err)
	}
	s.Answers = map[string]string{"lifecycle": "<ListBucketResult></ListBucketResult>", "versioning": "<ListBucketResult/>", "object-lock": "<html>"}
	for what, ask := range map[string]func() error{
		"lifecycle":  func() error { _, err := c.Lifecycle(t.Context()); return err },
		"versioning": func() error { _, err := c.Versioning(t.Context()); return err },
		"lock":       func() error { _, err := c.ObjectLock(t.Context()); return err },
	} {
		if err := ask(); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s that is a listing: %v", what, err)
		}
	}
	s.Answers = map[string]string{
		"versioning":  "<VersioningConfiguration xmlns='x'><Status>Enabled</Status></VersioningConfiguration>",
		"object-lock": "<ObjectLockConfiguration><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>9</Days></DefaultRetention></Rule></ObjectLockConfiguration>",
	}
	if got, err := c.Versioning(t.Context()); got != "Enabled" || err != nil {
		t.Error(got, err)
	}
	if got, err := c.ObjectLock(t.Context()); got != "COMPLIANCE, 9 days" || err != nil {
		t.Error(got, err)
	}
	s.Skew = time.Hour
	if got, err := c.Skew(t.Context()); err != nil || (got-time.Hour).Abs() > 3*time.Second {
		t.Error(got, err)
	}
	body := `<Error><Code>NoSuchLifecycleConfiguration</Code></Error>`
	if err := failure(404, []byte(body)); errors.Is(err, backend.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte("<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a/b</Key><Size>1</Size></Contents></ListBucketResult>"))
	f.Add([]byte("<Error><Code>NoSuchKey</Code></Error>"))
	f.Add([]byte("<LifecycleConfiguration><Rule><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>"))
	f.Add([]byte("<VersioningConfiguration xmlns='x'><Status>Enabled</Status></VersioningConfiguration>"))
	f.Add([]byte("<ObjectLockConfiguration><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>9</Days></DefaultRetention></Rule></ObjectLockConfiguration>"))
	f.Add([]byte(`{"Version":1,"AccessKeyId":"i","SecretAccessKey":"secret","SessionToken":"t","Expiration":"2999-01-01T00:00:00Z"}`))
	f.Add([]byte("[default]\naws_access_key_id = x\n [y]\n#\n[profile  z ]\na=b=c"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if found, more, err := parsePage(body, "a/", "", "a"); err == nil {
			last := "a"
			for _, i := range found {
				if i.Name <= last || i.Size < 0 {
					t.Fatalf("%q after %q, %d bytes", i.Name, last, i.Size)
				}
				last = i.Name
			}
			if more && len(found) == 0 {
				t.Fatal("more of nothing")
			}
		}
		if err := failure(403, body); err == nil || errors.Is(err, backend.ErrNotExist) {
			t.Fatalf("403: %v", err)
		}
		parseLifecycle(body, "a/", "b")
		for _, parse := range []func([]byte) (string, error){parseVersioning, parseLock} {
			if said, _ := parse(body); strings.ContainsAny(said, "\x1b\n\x00") {
				t.Fatalf("a terminal would be told %q", said)
			}
		}
		if c, err := parseProcess(body); err == nil && (c.ID == "" || c.Secret == "") {
			t.Fatal("half of the credentials")
		}
		for name, section := range parseINI(string(body)) {
			if section == nil || strings.ContainsAny(name, "\n]") {
				t.Fatalf("section %q", name)
			}
		}
	})
}
