package caddymodule

import (
	"encoding/json"
	"testing"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// wantOutput runs a command against an admin API that says something, and
// checks what the command prints.
func wantOutput(t *testing.T, says, want string, args ...string) {
	t.Helper()
	got, err := command(t, append(args, "--address", serveAdmin(t, 200, says).address)...)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStatusShowsHandlersCountersAndCaches(t *testing.T) {
	mybot := handlerStatus{
		Name: "mybot", Route: "/onebot", Online: true, Storage: "file_system", Connections: 2,
		Cache:     cacheStatus{Directory: "/var/lib/caddy/onebot_meta/mybot", Files: 12, Bytes: 3 << 20, MaxSize: 10 << 30},
		Stat:      meta.Stat{PacketReceived: 1500, PacketSent: 1498, PacketLost: 1, LostTimes: 1},
		Downloads: []downloadStatus{{ID: 1}, {ID: 2}},
	}
	sibling := mybot
	sibling.Route = "/onebot-too"
	elsewhere := mybot
	elsewhere.Route, elsewhere.Storage = "/files", "redis"
	elsewhere.Cache = cacheStatus{Directory: "/srv/caddy/onebot_meta/mybot", Share: 64 << 20}
	front := handlerStatus{
		Name: "qq", Route: "/", PassThru: true, Storage: "file_system",
		Cache: cacheStatus{Directory: "/var/lib/caddy/onebot_meta/qq", Files: 1, Bytes: 1},
		Stat:  meta.Stat{PacketReceived: 9_999_999, PacketSent: 9_999_000, PacketLost: 999, MessageReceived: 777, MessageSent: 66, DisconnectTimes: 5},
	}
	wantOutput(t, inJSON(t, []handlerStatus{mybot, sibling, elsewhere, front}), ""+
		"NAME   ROUTE        MODE         ONLINE  WEBSOCKETS  DOWNLOADS\n"+
		"mybot  /onebot      stand-alone  yes     2           2\n"+
		"mybot  /onebot-too  stand-alone  yes     2           2\n"+
		"mybot  /files       stand-alone  yes     2           2\n"+
		"qq     /            in front     no      0           0\n"+
		"\n"+
		"NAME   RECEIVED  SENT     LOST  MESSAGES RECEIVED  MESSAGES SENT  DISCONNECTS\n"+
		"mybot  1500      1498     1     0                  0              0\n"+
		"qq     9999999   9999000  999   777                66             5\n"+
		"\n"+
		"CACHE  STORAGE        FILES  SIZE               DIRECTORY\n"+
		"mybot  file_system    12     3.0 MiB of 10 GiB  /var/lib/caddy/onebot_meta/mybot\n"+
		"mybot  redis, shared  0      0 B                /srv/caddy/onebot_meta/mybot\n"+
		"qq     file_system    1      1 B                /var/lib/caddy/onebot_meta/qq\n",
		"status")
}

func TestStatusWithoutAHandlerSaysSo(t *testing.T) {
	wantOutput(t, "[]\n", "no onebot_meta handler is configured\n", "status")
	wantOutput(t, "[]\n", "[]\n", "status", "--json")
}

// A newer Caddy may say more than this command knows of.
func TestStatusInJSONIsWhatTheAdminAPISays(t *testing.T) {
	const says = `[{"name":"mybot","new":{"url":"http://a/?b&c<d>"},"online":true,"stat":{"PacketReceived":1234567890123456789}}]` + "\n"
	wantOutput(t, says, `[
	{
		"name": "mybot",
		"new": {
			"url": "http://a/?b&c<d>"
		},
		"online": true,
		"stat": {
			"PacketReceived": 1234567890123456789
		}
	}
]
`, "status", "--json")
}

func TestPurgeSaysWhatWentAndWhatStays(t *testing.T) {
	wantOutput(t, inJSON(t, []purgeStatus{
		{Name: "mybot", Directory: "/var/lib/caddy/onebot_meta/mybot", FreedFiles: 3, FreedBytes: 4 << 20, KeptFiles: 1, KeptBytes: 512 << 10},
		{Name: "mybot", Directory: "/srv/caddy/onebot_meta/mybot", KeptFiles: 2, KeptBytes: 300, FreedCopies: 5, FreedCopyBytes: 1 << 20},
		{Name: "qq", Directory: "/var/lib/caddy/onebot_meta/qq", FreedFiles: 1, FreedBytes: 1},
	}), ""+
		"mybot in /var/lib/caddy/onebot_meta/mybot\n"+
		"  freed 3 files, 4.0 MiB\n"+
		"  kept 1 file, 512 KiB: returned in the last 10 minutes or so, or in use\n"+
		"mybot in /srv/caddy/onebot_meta/mybot\n"+
		"  freed nothing\n"+
		"  kept 2 files, 300 B: returned in the last 10 minutes or so, or in use\n"+
		"  freed in the storage: 5 files, 1.0 MiB\n"+
		"qq in /var/lib/caddy/onebot_meta/qq\n"+
		"  freed 1 file, 1 B\n",
		"purge")
	wantOutput(t, "[]\n", "no onebot_meta handler is configured\n", "purge")
}

// The types are for both ends: what the one writes is what the other reads.
func TestTheJSONOfAStatusIsReadAsItWasWritten(t *testing.T) {
	total := int64(5)
	want := inJSON(t, handlerStatus{Name: "a", Downloads: []downloadStatus{{ID: 1, Total: &total}, {ID: 2}}})
	var read handlerStatus
	if err := json.Unmarshal([]byte(want), &read); err != nil {
		t.Fatal(err)
	}
	if got := inJSON(t, read); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
