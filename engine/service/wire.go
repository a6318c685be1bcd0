package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"ensync/engine"
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/engine/session"
	"ensync/store/backend"
	"ensync/store/object"
)

// On the socket each side writes JSON values, one a line: the client one request, the service any number of events
// and one answer. A client that hangs up calls its request off.

// A request asks the service for something.
type request struct {
	Op          string `json:"op"` // "sync", "status", "unmount", "yield", "pause", "resume"
	DryRun      bool   `json:"dry_run,omitempty"`
	Clean       bool   `json:"clean,omitempty"`
	ConfirmLoss bool   `json:"confirm_loss,omitempty"`
	Override    string `json:"override,omitempty"`
	Workers     int    `json:"workers,omitempty"`
	NoSync      bool   `json:"no_sync,omitempty"`
	Brief       bool   `json:"brief,omitempty"` // of "status": see Client.Brief

	Paths    [][]byte   `json:"paths,omitempty"` // of "fetch", "pin", "unpin", which are about content, as "pins" is
	Estimate bool       `json:"estimate,omitempty"`
	Resolve  []decision `json:"resolve,omitempty"`
}

// A decision is a user's about one path.
type decision struct {
	Path []byte `json:"path"`
	Mode string `json:"mode"`
	Seen string `json:"seen,omitempty"`
}

// encodeSync is the request for a sync.
func encodeSync(req session.Request) request {
	r := request{Op: "sync", DryRun: req.DryRun, Clean: req.Clean, ConfirmLoss: req.ConfirmLoss, Override: req.Override,
		Workers: req.Workers, Estimate: req.Estimate}
	for path, by := range req.Resolve {
		r.Resolve = append(r.Resolve, decision{[]byte(path), by.Mode.String(), by.Seen})
	}
	return r
}

// decodeSync is the reverse of encodeSync.
func (r request) decodeSync() (session.Request, error) {
	req := session.Request{DryRun: r.DryRun, Clean: r.Clean, ConfirmLoss: r.ConfirmLoss, Override: r.Override,
		Workers: r.Workers, Estimate: r.Estimate, Resolve: map[string]engine.Decision{}}
	for _, d := range r.Resolve {
		mode, err := plan.ParseMode(d.Mode)
		if err != nil {
			return req, err
		}
		req.Resolve[string(d.Path)] = engine.Decision{Mode: mode, Seen: d.Seen}
	}
	return req, nil
}

// A message is an event or the answer.
type message struct {
	Event  *wireEvent `json:"event,omitempty"`
	Answer *answer    `json:"answer,omitempty"`
}

type answer struct {
	Summary engine.Summary `json:"summary"`
	Status  *Status        `json:"status,omitempty"`
	Error   *wireError     `json:"error,omitempty"`
	Paths   [][]byte       `json:"paths,omitempty"`
	Ended   bool           `json:"ended,omitempty"` // the tree is unmounted; the connection ends with the service
}

// wireError keeps the kinds that commands tell apart.
type wireError struct {
	Text string `json:"text"`
	Kind string `json:"kind,omitempty"`
}

// errorKinds are in order of weight: an error that is of several kinds is told as the first.
var errorKinds = []struct {
	name string
	is   error
}{
	{"mounted", ErrMounted}, {"not_mounted", ErrNotRunning}, {"loss", engine.ErrLoss}, {"unreachable", backend.ErrUnavailable}, {"changed", replica.ErrChanged},
}

func unreachable(err error) bool { return errors.Is(err, backend.ErrUnavailable) }

func encodeError(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Text: err.Error()}
	for _, kind := range errorKinds {
		if errors.Is(err, kind.is) {
			w.Kind = kind.name
			break
		}
	}
	return w
}

// remoteError is an error that the service had.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

func (w *wireError) decode() error {
	if w == nil {
		return nil
	}
	e := &remoteError{text: w.Text}
	for _, kind := range errorKinds {
		if kind.name == w.Kind {
			e.kind = kind.is
		}
	}
	return e
}

// wireEvent is an engine.Event with names as bytes, which JSON strings could not hold.
type wireEvent struct {
	Kind     engine.EventKind `json:"kind"`
	Side     engine.Side      `json:"side"`
	Path     []byte           `json:"path"`
	Old      *wireEntry       `json:"old,omitempty"`
	New      *wireEntry       `json:"new,omitempty"`
	NewName  []byte           `json:"new_name,omitempty"`
	Action   plan.Action      `json:"action"`
	Conflict plan.Conflict    `json:"conflict"`
	Partial  bool             `json:"partial,omitempty"`
	Err      *wireError       `json:"error,omitempty"`
	Bytes    int64            `json:"bytes,omitempty"`
	Below    bool             `json:"below,omitempty"`
	Plan     *engine.Plan     `json:"plan,omitempty"`
}

type wireEntry struct {
	Name    []byte      `json:"name"`
	Kind    object.Kind `json:"kind"`
	Mode    uint32      `json:"mode"`
	ModTime int64       `json:"mtime"`
	Size    int64       `json:"size"`
	Key     []byte      `json:"key,omitempty"`
	Depth   uint8       `json:"depth,omitempty"`
	Target  []byte      `json:"target,omitempty"`
	User    []byte      `json:"user,omitempty"`
	Group   []byte      `json:"group,omitempty"`
	Xattrs  []byte      `json:"xattrs,omitempty"`
}

func encodeEvent(e engine.Event) *wireEvent {
	return &wireEvent{Kind: e.Kind, Side: e.Side, Path: []byte(e.Path), Old: encodeEntry(e.Old), New: encodeEntry(e.New),
		NewName: []byte(e.NewName), Action: e.Outcome.Action, Conflict: e.Outcome.Conflict, Partial: e.Outcome.Partial,
		Err: encodeError(e.Err), Bytes: e.Bytes, Below: e.Below, Plan: e.Plan}
}

func (w *wireEvent) decode() engine.Event {
	return engine.Event{Kind: w.Kind, Side: w.Side, Path: string(w.Path), Old: w.Old.decode(), New: w.New.decode(),
		NewName: string(w.NewName), Outcome: plan.Outcome{Action: w.Action, Conflict: w.Conflict, Partial: w.Partial},
		Err: w.Err.decode(), Bytes: w.Bytes, Below: w.Below, Plan: w.Plan}
}

func encodeEntry(e *replica.Entry) *wireEntry {
	if e == nil {
		return nil
	}
	w := &wireEntry{Name: []byte(e.Name), Kind: e.Kind, Mode: e.Mode, ModTime: e.ModTime, Size: e.Content.Size,
		Target: []byte(e.Target), User: []byte(e.User), Group: []byte(e.Group), Xattrs: []byte(e.Xattrs)}
	if e.Content.Known {
		w.Key, w.Depth = e.Content.Key[:], e.Content.Depth
	}
	return w
}

func (w *wireEntry) decode() *replica.Entry {
	if w == nil {
		return nil
	}
	e := &replica.Entry{Name: string(w.Name), Kind: w.Kind, Mode: w.Mode, ModTime: w.ModTime, Target: string(w.Target),
		User: object.Owner(w.User), Group: object.Owner(w.Group), Xattrs: object.Xattrs(w.Xattrs)}
	e.Content.Size = w.Size
	if len(w.Key) == len(e.Content.Key) {
		e.Content.Known, e.Content.Depth = true, w.Depth
		copy(e.Content.Key[:], w.Key)
	}
	return e
}

// maxRequest bounds what a service reads of one request.
const maxRequest = 1 << 20

func readRequest(c net.Conn) (request, error) {
	var req request
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return req, err
	}
	if err := json.NewDecoder(io.LimitReader(c, maxRequest)).Decode(&req); err != nil {
		return req, fmt.Errorf("read request: %w", err)
	}
	return req, c.SetReadDeadline(time.Time{})
}
