package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ensync/store/backend"
)

// ErrUnsupported says that the server has no such setting.
var ErrUnsupported = errors.New("the server has no such setting")

// A Rule is a lifecycle rule of the bucket that would do something to objects of the store.
type Rule struct {
	ID     string
	Does   string // what, in words
	Harm   bool   // it takes objects away, or out of reach
	Remedy string // how to remove it
}

// lifecycle is the answer to ?lifecycle. Some servers answer with something else, a listing for instance.
type lifecycle struct {
	XMLName xml.Name        `xml:"LifecycleConfiguration"`
	Rules   []lifecycleRule `xml:"Rule"`
}

type lifecycleRule struct {
	ID, Status, Prefix string
	Filter             struct {
		Prefix string
		Tag    *struct{}
		And    struct {
			Prefix string
			Tag    *struct{}
		}
	}
	Expiration struct {
		Days int
		Date string
	}
	NoncurrentVersionExpiration struct{ NoncurrentDays int }
	Transition                  []struct {
		Days               int
		Date, StorageClass string
	}
}

// minUndelete is how long, in days, a version that was replaced or deleted should stay, so that it can be had back.
const minUndelete = 30

// Lifecycle returns the rules that concern the store. ErrUnsupported if the server has none; backend.ErrDenied if these
// credentials may not see them (s3:GetLifecycleConfiguration).
func (c *Client) Lifecycle(ctx context.Context) ([]Rule, error) {
	body, err := c.setting(ctx, "lifecycle", "NoSuchLifecycleConfiguration")
	if err != nil || body == nil {
		return nil, err
	}
	return parseLifecycle(body, c.keyPrefix, c.opt.Bucket)
}

func parseLifecycle(body []byte, keyPrefix, bucket string) ([]Rule, error) {
	var l lifecycle
	if err := xml.Unmarshal(body, &l); err != nil {
		return nil, fmt.Errorf("%w: the answer is no lifecycle configuration", ErrUnsupported)
	}
	var found []Rule
	for _, r := range l.Rules {
		if !r.concerns(keyPrefix) {
			continue
		}
		does, harm := r.does()
		if len(does) == 0 {
			continue
		}
		found = append(found, Rule{ID: printable(r.ID), Does: strings.Join(does, ", "), Harm: harm,
			Remedy: fmt.Sprintf("aws s3api get-bucket-lifecycle-configuration --bucket %s shows the rules; delete this one in the provider's "+
				"console, or all of them by aws s3api delete-bucket-lifecycle --bucket %[1]s", bucket)})
	}
	return found, nil
}

// concerns reports whether a rule is about objects below keyPrefix. Objects of a store have no tags.
func (r *lifecycleRule) concerns(keyPrefix string) bool {
	if r.Status != "Enabled" || r.Filter.Tag != nil || r.Filter.And.Tag != nil {
		return false
	}
	for _, p := range []string{r.Prefix, r.Filter.Prefix, r.Filter.And.Prefix} {
		if !strings.HasPrefix(p, keyPrefix) && !strings.HasPrefix(keyPrefix, p) {
			return false
		}
	}
	return true
}

// does says what a rule does to an object that nobody touches. Removing markers of deletion and unfinished uploads is
// nothing.
func (r *lifecycleRule) does() (what []string, harm bool) {
	if e := r.Expiration; e.Days > 0 || e.Date != "" {
		what, harm = append(what, "deletes objects "+when(e.Days, e.Date)), true
	}
	for _, t := range r.Transition {
		what = append(what, fmt.Sprintf("moves objects to %s %s", printable(t.StorageClass), when(t.Days, t.Date)))
		// From these classes an object has to be restored, which takes hours, before it can be read.
		harm = harm || t.StorageClass == "GLACIER" || t.StorageClass == "DEEP_ARCHIVE"
	}
	if d := r.NoncurrentVersionExpiration.NoncurrentDays; d > 0 && d < minUndelete {
		what = append(what, fmt.Sprintf("lets what was deleted by mistake be had back for %d days only", d))
	}
	return what, harm
}

func when(days int, date string) string {
	if date != "" {
		return "on " + printable(date)
	}
	return fmt.Sprintf("after %d days", days)
}

// Versioning returns "Enabled", "Suspended", or "" for a bucket that never had versions.
func (c *Client) Versioning(ctx context.Context) (string, error) {
	body, err := c.setting(ctx, "versioning", "")
	if err != nil {
		return "", err
	}
	return parseVersioning(body)
}

func parseVersioning(body []byte) (string, error) {
	var v struct {
		XMLName xml.Name `xml:"VersioningConfiguration"`
		Status  string
	}
	if err := xml.Unmarshal(body, &v); err != nil {
		return "", fmt.Errorf("%w: the answer is no versioning configuration", ErrUnsupported)
	}
	return printable(v.Status), nil
}

// ObjectLock returns in words how long the bucket keeps every object from being deleted by default, or "".
func (c *Client) ObjectLock(ctx context.Context) (string, error) {
	body, err := c.setting(ctx, "object-lock", "ObjectLockConfigurationNotFoundError")
	if err != nil || body == nil {
		return "", err
	}
	return parseLock(body)
}

func parseLock(body []byte) (string, error) {
	var l struct {
		XMLName xml.Name `xml:"ObjectLockConfiguration"`
		Rule    struct {
			DefaultRetention struct {
				Mode        string
				Days, Years int
			}
		}
	}
	if err := xml.Unmarshal(body, &l); err != nil {
		return "", fmt.Errorf("%w: the answer is no object lock configuration", ErrUnsupported)
	}
	switch d := l.Rule.DefaultRetention; {
	case d.Years > 0:
		return fmt.Sprintf("%s, %d years", printable(d.Mode), d.Years), nil
	case d.Days > 0:
		return fmt.Sprintf("%s, %d days", printable(d.Mode), d.Days), nil
	}
	return "", nil
}

// setting reads a setting of the bucket. nil if the server answers with the code for there being none.
func (c *Client) setting(ctx context.Context, name, none string) (body []byte, err error) {
	r := request{method: http.MethodGet, params: url.Values{name: {""}}, limit: maxPage}
	err = c.do(ctx, "read the setting", name, r, func(a answer, err error, _ bool) error {
		var said *refusal
		switch {
		case errors.As(err, &said) && said.Code == none && said.status == http.StatusNotFound:
			return nil
		case errors.As(err, &said) && (said.status == http.StatusNotImplemented || said.status == http.StatusMethodNotAllowed || said.Code == "NotImplemented"):
			return ErrUnsupported
		}
		body = a.data
		return err
	})
	if err != nil {
		return nil, err
	}
	return body, nil
}

// Skew returns how far the server's clock is ahead of ours; servers refuse requests when it is more than a quarter of
// an hour. It is exact to about a second.
func (c *Client) Skew(ctx context.Context) (skew time.Duration, err error) {
	r := request{method: http.MethodGet, params: url.Values{"list-type": {"2"}, "max-keys": {"1"}, "prefix": {c.keyPrefix}}, limit: maxPage}
	err = c.do(ctx, "look at the clock of", c.opt.Location, r, func(a answer, err error, _ bool) error {
		date, perr := http.ParseTime(a.header.Get("Date"))
		switch skew = time.Until(date); {
		case a.status == 0:
			return err
		case perr != nil:
			return fmt.Errorf("%w: the server tells no time", backend.ErrUnavailable)
		}
		return nil // a refusal has a date, too
	})
	return skew, err
}
