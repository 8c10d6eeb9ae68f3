package caddymodule

import (
	"math"
	"testing"
	"time"
)

// began returns the time at which a download of a test began.
func began(minute int) time.Time { return time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC) }

func TestDownloadsAreATable(t *testing.T) {
	const mib = 1 << 20
	video := downloadStatus{ID: 7, Name: "a", URL: "https://cdn.example.org/a/video.mp4", Started: began(1), Tries: 1, Callers: 2, Done: 3 * mib, Total: new(int64(6 * mib)), Rate: mib}
	voice := downloadStatus{ID: 8, Name: "b", URL: "https://cdn.example.org/voice.silk", Started: began(2), Tries: 3, Callers: 1, Done: 20 << 10, Rate: 1000}
	waits := downloadStatus{ID: 12, Name: "a", URL: "https://cdn.example.org/文件 1", Started: began(2), Callers: 1}
	stalled := downloadStatus{ID: 5, Name: "b", URL: "http://127.0.0.1:8080/", Started: began(3), Tries: 1, Total: new(int64(0))}
	says := inJSON(t, []handlerStatus{ // two share a cache
		{Name: "a", Downloads: []downloadStatus{video, waits}},
		{Name: "a", Downloads: []downloadStatus{video, waits}},
		{Name: "b", Downloads: []downloadStatus{voice, stalled}},
	})
	wantOutput(t, says, ""+
		"ID  NAME  PROGRESS              RATE       LEFT  TRIES  CALLERS  URL\n"+
		"7   a     3.0 MiB / 6.0 MiB     1.0 MiB/s  3s    1      2        https://cdn.example.org/a/video.mp4\n"+
		"8   b     20 KiB / ?            1000 B/s   ?     3      1        https://cdn.example.org/voice.silk\n"+
		"12  a     waiting for its turn  -          -     0      1        https://cdn.example.org/%E6%96%87%E4%BB%B6%201\n"+
		"5   b     0 B / 0 B             0 B/s      ?     1      0        http://127.0.0.1:8080/\n",
		"downloads")
	wantOutput(t, inJSON(t, []handlerStatus{{Name: "b", Downloads: []downloadStatus{voice}}, {Name: "b", Downloads: []downloadStatus{voice}}}), `[
	{
		"id": 8,
		"name": "b",
		"url": "https://cdn.example.org/voice.silk",
		"started": "2026-01-02T03:02:00Z",
		"tries": 3,
		"callers": 1,
		"done": 20480,
		"total": null,
		"rate": 1000
	}
]
`, "downloads", "--json")
}

func TestNoDownloadsAreNoTable(t *testing.T) {
	for name, says := range map[string]string{"no handler": "[]", "no download": `[{"name":"a","downloads":[]}]`} {
		t.Run(name, func(t *testing.T) {
			wantOutput(t, says, "no downloads are under way\n", "downloads")
			wantOutput(t, says, "[]\n", "downloads", "--json")
		})
	}
}

func TestTheTimeLeft(t *testing.T) {
	for _, tt := range []struct {
		done, total, rate int64
		want              string
	}{
		{0, 100, 0, "?"},
		{0, 100, -1, "?"},
		{100, 100, 10, "0s"},
		{120, 100, 10, "0s"}, // an origin may send more than it said
		{99, 100, 10, "1s"},
		{0, 590, 10, "59s"},
		{0, 591, 10, "1m00s"},
		{0, 35_990, 10, "59m59s"},
		{0, 36_000, 10, "1h00m"},
		{0, 3_599_990, 10, "99h59m"},
		{0, 3_600_000, 10, "4d"},
		{0, math.MaxInt64 - 1, 1, "106751991167300d"},
	} {
		d := downloadStatus{Tries: 1, Done: tt.done, Total: &tt.total, Rate: tt.rate}
		if got := d.left(); got != tt.want {
			t.Errorf("%d of %d at %d/s: got %s, want %s", tt.done, tt.total, tt.rate, got, tt.want)
		}
	}
}

func TestAURLIsShortenedInTheMiddle(t *testing.T) {
	const url = "https://cdn.example.org/video.mp4"
	for width, want := range map[int]string{
		100: url,
		33:  url,
		32:  "https://cdn.exa....org/video.mp4",
		20:  "https://c...ideo.mp4",
		5:   "h...4",
		4:   "h...",
		3:   "htt",
		0:   "",
		-1:  "",
	} {
		if got := shorten(url, width); got != want {
			t.Errorf("in %d columns: got %q, want %q", width, got, want)
		}
	}
}
