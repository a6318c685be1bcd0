package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"

	"ensync/engine"
	"ensync/engine/ancestor"
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/store/object"
)

// statusVersion is of the schema in docs/json.md; it grows when a field changes its meaning.
const statusVersion = 1

// A record is one line of --json. Which fields go with which type is told in docs/json.md.
type record struct {
	StatusVersion int    `json:"status_version"`
	Time          string `json:"time"`
	Type          string `json:"type"`
	Side          string `json:"side,omitempty"`
	Path          *text  `json:"path,omitempty"`
	PathBase64    string `json:"path_base64,omitempty"`

	Info          *entryInfo `json:"info,omitempty"`
	OldInfo       *entryInfo `json:"update_old_info,omitempty"`
	NewInfo       *entryInfo `json:"update_new_info,omitempty"`
	NewName       *text      `json:"rename_new_name,omitempty"`
	NewNameBase64 string     `json:"rename_new_name_base64,omitempty"`
	NewPath       *text      `json:"move_new_path,omitempty"`
	NewPathBase64 string     `json:"move_new_path_base64,omitempty"`
	ErrorMessage  string     `json:"error_message,omitempty"`

	ConflictType           string `json:"conflict_type,omitempty"`
	ConflictReconciliation string `json:"conflict_reconciliation,omitempty"`

	Result   string        `json:"result,omitempty"` // of sync_finished
	Summary  *summary      `json:"summary,omitempty"`
	Progress *progressInfo `json:"progress,omitempty"`
	Status   *status       `json:"status,omitempty"`
	Issue    *issue        `json:"issue,omitempty"`
	Finding  *finding      `json:"finding,omitempty"`
}

// finding is of doctor.
type finding struct {
	Check string `json:"check"`
	Level string `json:"level"`
	Says  text   `json:"says"`
	Next  text   `json:"next,omitempty"`
}

// text is a string whose bytes may be no UTF-8; those are then replaced, and the base64 field has all.
type text string

type entryInfo struct {
	Type         string `json:"type"`
	Mode         *int   `json:"mode,omitempty"`
	Size         *int64 `json:"size,omitempty"`
	ModifiedTime string `json:"modified_time,omitempty"`
	Target       *text  `json:"target,omitempty"`
	TargetBase64 string `json:"target_base64,omitempty"`
	// What is synchronised only where the rules say so.
	Owner  string `json:"owner,omitempty"`
	Group  string `json:"group,omitempty"`
	Xattrs []text `json:"xattrs,omitempty"`
}

type counts struct {
	Created int   `json:"created"`
	Updated int   `json:"updated"`
	Deleted int   `json:"deleted"`
	Bytes   int64 `json:"bytes"`
}

type summary struct {
	In        counts `json:"in"`
	Out       counts `json:"out"`
	Conflicts int    `json:"conflicts"`
	Copies    int    `json:"copies"`
	Unsynced  int    `json:"unsynced"`
	Failed    int    `json:"failed"`
	Examined  int    `json:"examined_directories"`
	DryRun    bool   `json:"dry_run"`
}

// progressInfo is how far a sync is.
type progressInfo struct {
	In             counts   `json:"in"`
	Out            counts   `json:"out"`
	BytesMoving    int64    `json:"bytes_moving"`
	PlanIn         counts   `json:"plan_in"`
	PlanOut        counts   `json:"plan_out"`
	PlanWhole      bool     `json:"plan_whole"`
	BytesPerSecond int64    `json:"bytes_per_second"`
	SecondsLeft    *float64 `json:"seconds_left,omitempty"`
}

func progressOf(m *meter, now time.Time) *progressInfo {
	_, speed := m.speed(now)
	p := &progressInfo{In: counts(m.in), Out: counts(m.out), PlanIn: counts(m.plan.In), PlanOut: counts(m.plan.Out),
		PlanWhole: m.plan.Whole, BytesPerSecond: int64(speed)}
	for _, n := range m.moving {
		p.BytesMoving += n
	}
	if left, ok := m.left(now); ok {
		seconds := left.Seconds()
		p.SecondsLeft = &seconds
	}
	return p
}

type status struct {
	Config        string    `json:"config"`
	Mounted       bool      `json:"mounted"`
	Watch         *watching `json:"watch,omitempty"`
	Syncing       bool      `json:"syncing"`
	Paused        bool      `json:"paused"`
	LastSync      string    `json:"last_sync,omitempty"`
	LastError     string    `json:"last_error,omitempty"`
	OfflineSince  string    `json:"offline_since,omitempty"`
	OfflineReason string    `json:"offline_reason,omitempty"`
	Ending        bool      `json:"ending,omitempty"`
	Failed        string    `json:"failed,omitempty"`
	PendingNames  int       `json:"pending_names"`
	PendingBytes  uint64    `json:"pending_bytes"`
	PendingSince  string    `json:"pending_since,omitempty"`
	Content       *content  `json:"content,omitempty"`
	Issues        int       `json:"issues"`
	Commit        uint64    `json:"commit,omitempty"`
	Fingerprint   string    `json:"fingerprint,omitempty"`
	OthersMade    string    `json:"others_made,omitempty"`
	OthersSeen    string    `json:"others_seen,omitempty"`
	RefusedSince  string    `json:"refused_since,omitempty"`
}

// content is where the content of a mounted tree is.
type content struct {
	AsOf         string `json:"as_of"`
	Files        int    `json:"files"`
	Bytes        uint64 `json:"bytes"`
	LocalBytes   uint64 `json:"local_bytes"`
	RemoteBytes  uint64 `json:"remote_bytes"`
	CacheBytes   int64  `json:"cache_bytes"`
	CacheLimit   int64  `json:"cache_limit"`
	PinnedFiles  int    `json:"pinned_files"`
	PinnedBytes  uint64 `json:"pinned_bytes"`
	PinnedOnDisk int64  `json:"pinned_on_disk"`
	PinnedFailed string `json:"pinned_error,omitempty"`
}

type watching struct {
	Since  string `json:"since"`
	Method string `json:"method"`
	Reason string `json:"reason,omitempty"`
	Told   bool   `json:"store_tells"`
}

type issue struct {
	Kind   string `json:"kind"`
	Reason string `json:"reason"`
	Since  string `json:"since"`

	Of       *text   `json:"of,omitempty"`
	OfBase64 string  `json:"of_base64,omitempty"`
	Author   *author `json:"author,omitempty"`
	Other    *author `json:"other,omitempty"`
}

// author is whose a version in a conflict is.
type author struct {
	Machine string `json:"machine,omitempty"`
	Time    string `json:"time,omitempty"`
}

func authorOf(a object.Author) *author {
	if a == (object.Author{}) {
		return nil
	}
	out := author{Machine: a.Machine}
	if a.Time != 0 {
		out.Time = stampText(time.Unix(0, a.Time))
	}
	return &out
}

// A jsonWriter prints records, one a line.
type jsonWriter struct {
	enc  *json.Encoder
	told time.Time // when the last progress was
}

func newJSONWriter(w io.Writer) *jsonWriter {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &jsonWriter{enc: enc, told: time.Now()}
}

// progressEvery is how often progress is told at most.
const progressEvery = time.Second

// progress tells how far a sync is, if it is time, or if it is known from now on how much is to be done.
func (j *jsonWriter) progress(m *meter, planned bool) error {
	now := time.Now()
	if !planned && now.Sub(j.told) < progressEvery {
		return nil
	}
	j.told = now
	return j.write(record{Type: "sync_progress", Progress: progressOf(m, now)})
}

func (j *jsonWriter) write(r record) error {
	r.StatusVersion, r.Time = statusVersion, stampText(time.Now())
	return j.enc.Encode(r)
}

func stampText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// name returns the two fields that tell a name.
func name(s string) (*text, string) {
	t := text(s)
	if utf8.ValidString(s) {
		return &t, ""
	}
	return &t, base64.StdEncoding.EncodeToString([]byte(s))
}

// event prints an event, if it has a record.
func (j *jsonWriter) event(e engine.Event) error {
	r := record{Side: e.Side.String()}
	r.Path, r.PathBase64 = name(e.Path)
	switch e.Kind {
	case engine.Created:
		r.Type, r.Info = "sync_create", infoOf(e.New)
	case engine.Updated:
		r.Type, r.OldInfo, r.NewInfo = "sync_update", infoOf(e.Old), infoOf(e.New)
	case engine.Moved:
		r.Type = "sync_move"
		r.NewPath, r.NewPathBase64 = name(e.NewName)
	case engine.Renamed:
		r.Type = "sync_rename"
		r.NewName, r.NewNameBase64 = name(e.NewName)
	case engine.Deleted:
		r.Type, r.Info = "sync_remove", infoOf(e.Old)
		if isRemovedDirectory(e) {
			r.Type = "sync_remove_directory"
		}
	case engine.DeleteTree:
		r.Type = "sync_remove_recursively"
	case engine.Error:
		r.Type, r.ErrorMessage = "sync_error", e.Err.Error()
	case engine.Inspected:
		if e.Outcome.Conflict == plan.NoConflict || e.Outcome.Action == plan.InSync {
			return nil
		}
		r.Type, r.Side = "sync_conflict", ""
		r.ConflictType, r.ConflictReconciliation = conflictNames[e.Outcome.Conflict], actionNames[e.Outcome.Action]
	default:
		return nil
	}
	return j.write(r)
}

var conflictNames = map[plan.Conflict]string{
	plan.EditEdit: "edit_edit", plan.EditDeleteOnServer: "edit_local_delete_remote",
	plan.EditDeleteOnClient: "edit_remote_delete_local",
}

var actionNames = map[plan.Action]string{
	plan.Unsync: "unsynced", plan.Irreconcilable: "irreconcilable", plan.UseClient: "use_local", plan.UseServer: "use_remote",
	plan.Merge: "merge", plan.SplitServer: "split_remote", plan.SplitServerMove: "split_remote", plan.SplitClientMove: "split_local",
}

func infoOf(e *replica.Entry) *entryInfo {
	if e == nil {
		return nil
	}
	i := kindInfoOf(e)
	i.Owner, i.Group = e.User.String(), e.Group.String()
	for _, name := range e.Xattrs.Names() {
		i.Xattrs = append(i.Xattrs, text(name))
	}
	return i
}

func kindInfoOf(e *replica.Entry) *entryInfo {
	mode := int(e.Mode)
	switch e.Kind {
	case object.File:
		return &entryInfo{Type: "file", Mode: &mode, Size: &e.Content.Size, ModifiedTime: stampText(time.Unix(0, e.ModTime))}
	case object.Directory:
		return &entryInfo{Type: "directory", Mode: &mode}
	case object.Symlink:
		i := &entryInfo{Type: "symlink"}
		i.Target, i.TargetBase64 = name(e.Target)
		return i
	}
	return &entryInfo{Type: "special"}
}

func summaryOf(s engine.Summary, dryRun bool) *summary {
	side := func(c engine.Counts) counts { return counts(c) }
	return &summary{In: side(s.In), Out: side(s.Out), Conflicts: s.Conflicts, Copies: s.Copies, Unsynced: s.Unsynced,
		Failed: s.Failed, Examined: s.Examined, DryRun: dryRun}
}

func (j *jsonWriter) issue(i ancestor.Issue) error {
	r := record{Type: "issue", Issue: &issue{Kind: string(i.Kind), Reason: i.Reason, Since: stampText(i.Since),
		Author: authorOf(i.Author), Other: authorOf(i.Other)}}
	if i.Of != "" {
		r.Issue.Of, r.Issue.OfBase64 = name(original(i))
	}
	r.Path, r.PathBase64 = name(i.Path)
	return j.write(r)
}
