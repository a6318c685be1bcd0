package session

import (
	"os"
	"testing"
	"time"

	"ensync/engine/config"
	"ensync/store/backend"
	"ensync/store/backend/link"
	"ensync/store/dir"
	"ensync/store/pipe/pipetest"
)

// TestUploadIsBoundByBandwidth syncs a tree of small files for the first time over a link of 100 ms and 10 MiB per
// second. The round trips that wait for one another are few, however many the files are. ENSYNC_TRIPS syncs 10 000
// files and looks at the clock, too, where a test of every day makes 500.
func TestUploadIsBoundByBandwidth(t *testing.T) {
	const bandwidth, rtt = 10 << 20, 100 * time.Millisecond
	dirs := 5
	if os.Getenv("ENSYNC_TRIPS") != "" {
		dirs = 100
	}
	cfg := machine(t, newStore(t))
	forest(t, cfg.General.Path, dirs, 100, 4<<10)
	var far *link.Backend
	opt := Options{Open: func(config.Server) (backend.Backend, error) {
		b := pipetest.Client(t, pipetest.Link{RTT: rtt, Bandwidth: bandwidth}, func() (backend.Backend, error) {
			return dir.Open(cfg.General.Server.Path)
		})
		far = link.Wrap(b, link.Line{})
		return far, nil
	}}
	start := time.Now()
	if _, err := trySyncWith(t.Context(), cfg, Request{}, opt); err != nil {
		t.Fatal(err)
	}
	took, line := time.Since(start), time.Duration(dirs*100*4<<10)*time.Second/bandwidth
	traffic := far.Traffic()
	t.Logf("%d files: %v, of which the line needs %v; %+v", dirs*100, took, line, traffic)
	if traffic.Depth > 15 {
		t.Errorf("%d round trips wait for one another", traffic.Depth)
	}
	if _, err := trySyncWith(t.Context(), cfg, Request{}, opt); err != nil {
		t.Fatal(err)
	}
	if again := far.Traffic(); again.Depth != 1 {
		t.Errorf("a sync with nothing to do: %d round trips; %+v", again.Depth, again)
	}
	if dirs == 100 && took > 2*line+30*rtt {
		t.Errorf("it took %v", took)
	}
}
