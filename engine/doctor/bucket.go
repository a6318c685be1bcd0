package doctor

import (
	"errors"
	"fmt"

	"ensync/store/backend"
	"ensync/store/s3"
)

// bucket looks at what a bucket does to objects by itself.
func (e *examination) bucket(c *s3.Client) {
	ctx, cancel := e.within()
	defer cancel()
	if skew, err := c.Skew(ctx); err != nil {
		e.failed("clock", e.cause(ctx, err))
	} else {
		e.clock(skew, skewRefused)
	}
	rules, err := c.Lifecycle(ctx)
	e.setting("lifecycle rules", "s3:GetLifecycleConfiguration", err, func() { e.lifecycle(rules) })
	state, err := c.Versioning(ctx)
	e.setting("versioning", "s3:GetBucketVersioning", err, func() { e.versioning(state) })
	lock, err := c.ObjectLock(ctx)
	e.setting("object lock", "s3:GetBucketObjectLockConfiguration", err, func() { e.lock(lock) })
}

// setting reports why a setting can't be seen, or what show says of it.
func (e *examination) setting(check, permission string, err error, show func()) {
	switch {
	case err == nil:
		show()
	case errors.Is(err, s3.ErrUnsupported):
		e.ok(check, "%v", s3.ErrUnsupported)
	case errors.Is(err, backend.ErrDenied):
		e.warn(check, "these credentials may not see it", "allow "+permission+", or look yourself")
	default:
		e.failed(check, err)
	}
}

func (e *examination) lifecycle(rules []s3.Rule) {
	for _, r := range rules {
		says := fmt.Sprintf("rule %q %s", r.ID, r.Does)
		if r.Harm {
			e.fail("lifecycle rules", says+": the store will lose what it needs", r.Remedy)
		} else {
			e.warn("lifecycle rules", says, r.Remedy)
		}
	}
	if len(rules) == 0 {
		e.ok("lifecycle rules", "none touches the store")
	}
}

func (e *examination) versioning(state string) {
	switch state {
	case "Enabled":
		e.ok("versioning", "on: what is deleted by mistake can be had back")
	case "Suspended":
		e.warn("versioning", "suspended: what is deleted by mistake is gone", "turn it on again, with a rule that removes versions after 30 days or more")
	default:
		e.ok("versioning", "off; with it, what is deleted by mistake could be had back")
	}
}

func (e *examination) lock(lock string) {
	if lock == "" {
		e.ok("object lock", "nothing is locked by default")
		return
	}
	e.warn("object lock", "every object is locked for a time ("+lock+"): what is no longer needed can't be deleted",
		"take the default retention away, unless you want it as a protection and can pay for it")
}
