package config

import (
	"strings"
	"testing"
	"time"
)

func TestNetwork(t *testing.T) {
	text := strings.Replace(minimal, "[[rules", `[network]
upload = "2MiB/s"
[[network.limit]]
from = "08:00"
to = "18:00"
upload = "500KiB/s"
download = "1 MB/s"
[[network.limit]]
from = "22:00"
to = "06:00"
upload = "none"
[[rules`, 1)
	c, err := Parse("/c", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for clock, want := range map[string][2]int64{
		"07:59": {2 << 20, 0}, "08:00": {500 << 10, 1e6}, "17:59": {500 << 10, 1e6}, "18:00": {2 << 20, 0},
		"21:59": {2 << 20, 0}, "22:00": {0, 0}, "23:59": {0, 0}, "00:00": {0, 0}, "05:59": {0, 0}, "06:00": {2 << 20, 0},
	} {
		at, err := time.Parse("15:04", clock)
		if err != nil {
			t.Fatal(err)
		}
		if up, down := c.Network.At(at); up != want[0] || down != want[1] {
			t.Errorf("at %s: %d and %d, want %v", clock, up, down, want)
		}
	}
	plain, err := Parse("/c", []byte(minimal))
	if err != nil || plain.Network.Limited() || !c.Network.Limited() {
		t.Errorf("limited without a limit, or not with one; %v", err)
	}
}
