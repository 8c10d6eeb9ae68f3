package meta

import (
	"context"
	"encoding/json"
	"runtime"
	"sync"
)

// versionInfo is the data of get_version_info.
type versionInfo struct {
	AppName                  string `json:"app_name"`
	AppVersion               string `json:"app_version"`
	AppFullName              string `json:"app_full_name"`
	ProtocolVersion          string `json:"protocol_version"`
	CoolqEdition             string `json:"coolq_edition"`
	CoolqDirectory           string `json:"coolq_directory"`
	GoCqhttp                 bool   `json:"go-cqhttp"`
	PluginVersion            string `json:"plugin_version"`
	PluginBuildNumber        int    `json:"plugin_build_number"`
	PluginBuildConfiguration string `json:"plugin_build_configuration"`
	RuntimeVersion           string `json:"runtime_version"`
	RuntimeOS                string `json:"runtime_os"`
	Version                  string `json:"version"`
	ProtocolName             int    `json:"protocol_name"`
}

// getVersionInfo says go-cqhttp v1.2.0 where bot frameworks look for what they
// may use, and the truth where people look.
func (d *Dispatcher) getVersionInfo(context.Context, *Call) (any, error) {
	return encodedVersion()
}

// encodedVersion is always the same.
var encodedVersion = sync.OnceValues(func() (json.RawMessage, error) {
	return marshal(versionInfo{
		AppName:                  "go-cqhttp",
		AppVersion:               "v1.2.0",
		AppFullName:              "onebot-meta " + Version(),
		ProtocolVersion:          "v11",
		CoolqEdition:             "pro",
		CoolqDirectory:           "",
		GoCqhttp:                 true,
		PluginVersion:            "4.15.0",
		PluginBuildNumber:        99,
		PluginBuildConfiguration: "release",
		RuntimeVersion:           runtime.Version(),
		RuntimeOS:                runtime.GOOS,
		Version:                  Version(),
		ProtocolName:             1, // Android phone
	})
})
