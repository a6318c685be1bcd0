package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ensync/engine/config"
	"ensync/engine/session"
	"ensync/keys"
	"ensync/store"
	"ensync/store/backend"
	"ensync/store/pipe"
	"ensync/store/s3"
)

// patience is how long one check of the store may take.
const patience = time.Minute

// within bounds one check.
func (e *examination) within() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(e.ctx, patience, fmt.Errorf("no answer within %v: %w", patience, backend.ErrUnavailable))
}

// store looks at the place of the store and what is there.
func (e *examination) store() {
	b, err := session.OpenBackend(e.cfg.General.Server)
	if err != nil {
		e.unconnected(err)
		return
	}
	defer b.Close()
	if !e.connection(b) {
		return
	}
	if c, ok := b.(*s3.Client); ok {
		e.bucket(c)
	}
	if e.objects(b) {
		e.selfTest(b)
		e.unlocked(b)
	}
}

// connection asks the smallest question.
func (e *examination) connection(b backend.Backend) bool {
	ctx, cancel := e.within()
	defer cancel()
	who := ""
	if c, ok := b.(*pipe.Client); ok {
		h, err := c.Hello(ctx)
		if err != nil {
			e.unconnected(e.cause(ctx, err))
			return false
		}
		who = ", where ensync " + h.Program + " answers"
	}
	start := time.Now()
	if err := b.List(ctx, "format", func(backend.Info) error { return nil }); err != nil {
		e.unconnected(e.cause(ctx, err))
		return false
	}
	e.ok("connection", "%s%s, in %v", b.Location(), who, time.Since(start).Round(100*time.Microsecond))
	return true
}

// unconnected reports why nothing can be asked.
func (e *examination) unconnected(err error) {
	kind, next := e.cfg.General.Server.Kind, ""
	switch {
	case errors.Is(err, backend.ErrUnavailable) && kind != config.ServerPath:
		next = "check server in config.toml, the network, and whether the other side runs"
	case errors.Is(err, backend.ErrDenied):
		next = map[config.ServerKind]string{
			config.ServerPath:  "correct the owner and the mode of the directory",
			config.ServerShell: "correct the owner and the mode of the directory there, or what this login may do",
			config.ServerS3:    "check the credentials, and that they may list the bucket and read and write objects",
		}[kind]
	}
	e.fail("connection", err.Error(), next)
}

// cause is err, or why the check was given up.
func (e *examination) cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && e.ctx.Err() == nil {
		return context.Cause(ctx)
	}
	return err
}

// objects looks at what a store can't do without, as far as that needs no passphrase. It reports whether the store can be
// opened.
func (e *examination) objects(b backend.Backend) bool {
	ctx, cancel := e.within()
	defer cancel()
	mem, err := session.Memory(e.cfg)
	if err != nil {
		mem = nil // said before
	}
	id, p, err := store.ReadFormat(ctx, b, mem)
	if err != nil {
		e.failed("format", e.cause(ctx, err))
		return false
	}
	e.ok("format", "store %x, blocks of %d bytes (%s)", id, p.BlockSize, p.Chunking)
	k, err := store.ReadKeys(ctx, b, mem)
	if err != nil {
		e.failed("keys", e.cause(ctx, err))
		return false
	}
	e.ok("keys", "%d passphrases, version %d", len(k.List()), k.Version())
	if err := store.CheckKeysCopy(ctx, b, k); err != nil {
		e.failed("copy of the keys", e.cause(ctx, err))
	} else {
		e.ok("copy of the keys", "is the same")
	}
	return true
}

// shared is a backend that stays open when a store that uses it is closed.
type shared struct{ backend.Backend }

func (shared) Close() error { return nil }

// unlocked looks at what needs the passphrase.
func (e *examination) unlocked(b backend.Backend) {
	if e.opt.Pass == nil {
		e.skip("passphrase", "it is asked for on a terminal only; with --key, the trees in the store are looked at, too")
		return
	}
	pass, err := e.opt.Pass(e.ctx)
	if err != nil {
		e.failed("passphrase", err)
		return
	}
	defer clear(pass)
	st, err := session.OpenStore(e.ctx, e.cfg, pass, session.Options{Notice: e.opt.Notice,
		Open: func(config.Server) (backend.Backend, error) { return shared{b}, nil }})
	if err != nil {
		e.failed("passphrase", err)
		return
	}
	defer st.Close()
	e.ok("passphrase", "opens the store; groups %s", groups(st.Keys()))
	e.root(st)
	ctx, cancel := e.within()
	defer cancel()
	loss, err := st.Lost(ctx)
	switch {
	case err != nil:
		e.failed("objects", e.cause(ctx, err))
	case loss != nil:
		e.failed("objects", loss)
	default:
		e.ok("objects", "none is missing, as far as lists tell; ensync check --read-data reads them")
	}
}

func groups(c *keys.Chain) string {
	text := ""
	for _, name := range c.Groups() {
		if text != "" {
			text += ", "
		}
		text += name
	}
	return text
}

// root looks at the configured tree in the store.
func (e *examination) root(st *session.Store) {
	const check = "tree in the store"
	name := e.cfg.General.ServerRoot
	r, err := st.Root(e.ctx, name)
	if errors.Is(err, store.ErrNoRoot) {
		e.fail(check, fmt.Sprintf("there is no tree %s", name), "make it by ensync setup, or name another as server_root in config.toml; ensync ls / shows what there is")
		return
	}
	var h store.Head
	if err == nil {
		h, err = r.Head(e.ctx)
	}
	switch {
	case err != nil:
		e.failed(check, err)
	case h.Seq == 0:
		e.ok(check, "%s is empty: nothing was synced yet", name)
	default:
		e.ok(check, "%s, commit %d, made %s by %s", name, h.Seq, h.Time.UTC().Format(time.RFC3339), session.MachineName(h.Client))
	}
}

// The bounds of how far clocks may be apart.
const (
	skewNoticed = 2 * time.Minute
	skewRefused = 15 * time.Minute // by S3
)

func (e *examination) clock(skew time.Duration, most time.Duration) {
	says := fmt.Sprintf("the clock of the store is %v ahead of this machine's", skew.Round(time.Second))
	if skew < 0 {
		says = fmt.Sprintf("the clock of the store is %v behind this machine's", -skew.Round(time.Second))
	}
	const next = "set the clock that is wrong (timedatectl set-ntp true)"
	switch {
	case most > 0 && skew.Abs() >= most:
		e.fail("clock", says+": it refuses requests", next)
	case skew.Abs() >= skewNoticed:
		e.warn("clock", says+": times of commits and ages of files will mislead", next)
	default:
		e.ok("clock", "that of the store and this machine's agree")
	}
}
