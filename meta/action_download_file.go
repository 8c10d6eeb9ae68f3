package meta

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// downloaded is the data of download_file.
type downloaded struct {
	File string `json:"file"`          // absolute path
	URL  string `json:"url,omitempty"` // where it can be fetched, if files are served
}

// wanted is what a call of download_file asks for: the file at URL or, where
// that is nil, the content.
type wanted struct {
	fetch.Request
	content string // in base64
}

// downloadFile stores the file at a URL, or content sent as base64, and
// returns its path. Its parameters are url or base64, headers (a string of
// "K: V" lines or an array of them), name (of which only the extension is
// used) and thread_count (unused: a download is one stream).
//
// A download is logged once, however many calls wait for it, and also when
// none does any more.
func (d *Dispatcher) downloadFile(_ context.Context, call Call) (any, error) {
	start := time.Now()
	want, err := parseWanted(call.Params)
	want.Unclaimed = call.unanswered
	report := func(file fetch.Result, err error) { d.logDownload(want, start, file, err) }
	var file fetch.Result
	switch {
	case err != nil:
		report(file, err)
	case want.URL == nil:
		file, err = d.files.Keep(want.content, want.Name)
		report(file, err)
	default:
		var waiting *fetch.Waiting
		if file, waiting, err = d.files.Start(want.Request, report); waiting != nil {
			return download{waiting, call.FileURL}, nil
		}
	}
	return dataOf(file, err, call.FileURL)
}

// download is a call that waits for its file.
type download struct {
	*fetch.Waiting
	fileURL func(name string) string
}

func (w download) data(ctx context.Context) (any, error) {
	file, err := w.Result(ctx)
	return dataOf(file, err, w.fileURL)
}

func dataOf(file fetch.Result, err error, fileURL func(name string) string) (any, error) {
	if err != nil {
		failure, _ := explain(err)
		return nil, failure
	}
	data := downloaded{File: file.Path}
	if fileURL != nil {
		data.URL = fileURL(file.Name)
	}
	return data, nil
}

func (d *Dispatcher) logDownload(want wanted, start time.Time, file fetch.Result, err error) {
	level, message := zap.InfoLevel, "downloaded file"
	if err != nil {
		level, message = zap.WarnLevel, "download failed"
	} else if file.Source == fetch.Fresh {
		level = zap.DebugLevel // nothing was downloaded
	}
	c := d.logger.Check(level, message)
	if c == nil {
		return
	}
	fields := []zap.Field{zap.Duration("duration", time.Since(start))}
	if want.URL != nil {
		fields = append(fields, zap.String("url", fetch.Place(want.URL)))
	}
	if err != nil {
		failure, cause := explain(err)
		fields = append(fields, zap.String("reason", failure.Error()), cause)
	} else {
		fields = append(fields, zap.Int64("size", file.Size), zap.String("result", string(file.Source)))
	}
	c.Write(fields...)
}

func parseWanted(p Params) (want wanted, err error) {
	if want.Name, err = p.text("name"); err != nil {
		return want, err
	}
	if want.content, err = p.text("base64"); err != nil {
		return want, err
	}
	raw, err := p.text("url")
	if err != nil {
		return want, err
	}
	switch {
	case raw != "" && want.content != "":
		return want, BadRequest("give either url or base64, not both", "url 与 base64 只能提供其一")
	case want.content != "":
		return want, nil
	case raw == "":
		return want, BadRequest("url is missing", "缺少参数 url")
	}
	lines, err := p.lines("headers")
	if err != nil {
		return want, err
	}
	if want.Header, err = fetch.ParseHeaders(lines); err != nil {
		return want, err
	}
	want.URL, err = fetch.ParseURL(raw)
	return want, err
}

// explain turns a failed download into what its caller may read, and its cause
// into what belongs into the log.
func explain(err error) (*Error, zap.Field) {
	failed, ok := errors.AsType[*fetch.Error](err)
	if !ok {
		if e, ok := errors.AsType[*Error](err); ok {
			return e, zap.Skip()
		}
		return errInternal, zap.Error(err)
	}
	cause := zap.Skip()
	if failed.Err != nil {
		cause = zap.String("error", failed.Cause())
	}
	text := failures[failed.Kind]
	return BadRequest(
		strings.ReplaceAll(text.message, "%", failed.Detail),
		strings.ReplaceAll(text.wording, "%", failed.Detail),
	), cause
}

// failures says in English and in Chinese what each kind of failure means; %
// stands for its detail.
var failures = map[fetch.Kind]struct{ message, wording string }{
	fetch.BadScheme:        {"url must begin with http:// or https://, in lower case", "url 必须以小写的 http:// 或 https:// 开头"},
	fetch.BadURL:           {"url is not a valid URL", "url 格式不正确"},
	fetch.BadHeader:        {`headers: line % is not of the form "Name: value"`, `headers 第 % 行不是 "Name: value" 的形式`},
	fetch.RefusedHeader:    {"headers: % cannot be set", "headers 不允许设置 %"},
	fetch.HostByProxy:      {"headers: Host cannot be set for an http:// URL that is fetched through an HTTP proxy", "通过 HTTP 代理下载 http:// 地址时，headers 不允许设置 Host"},
	fetch.BadContent:       {"base64 is not valid base64", "base64 不是有效的 base64 编码"},
	fetch.Refused:          {"destination refused: % is not on the public internet, and allow_private does not open it", "拒绝访问: % 不是公网地址，且未被 allow_private 放行"},
	fetch.NoSuchHost:       {"request failed: the name % could not be resolved", "请求失败: 无法解析域名 %"},
	fetch.NoConnection:     {"request failed: could not connect to %", "请求失败: 无法连接 %"},
	fetch.NoProxy:          {"request failed: the proxy could not be reached, or could not reach %", "请求失败: 无法连接代理，或代理无法连接 %"},
	fetch.ProxyRefused:     {"request failed: the proxy refused, with status %", "请求失败: 代理拒绝了请求，状态码 %"},
	fetch.BadCertificate:   {"request failed: the TLS certificate of % is not trusted", "请求失败: % 的 TLS 证书不受信任"},
	fetch.RequestFailed:    {"request failed: % gave no usable answer", "请求失败: % 没有给出有效响应"},
	fetch.BadRedirect:      {"request failed: % redirected to an address that cannot be fetched", "请求失败: % 重定向到了无法下载的地址"},
	fetch.TooManyRedirects: {"request failed: more than % redirects", "请求失败: 重定向超过 % 次"},
	fetch.BadStatus:        {"request failed: the origin answered with status %", "请求失败: 源站返回状态码 %"},
	fetch.Incomplete:       {"request failed: the transfer from % broke off", "请求失败: 来自 % 的传输中断"},
	fetch.TooLarge:         {"the file is too large: the limit is %", "文件过大: 上限为 %"},
	fetch.TimedOut:         {"the download timed out after %", "下载超时（%）"},
	fetch.Stalled:          {"the download stalled: no byte came for %", "下载停滞: % 内没有收到数据"},
	fetch.Cancelled:        {"the download was cancelled", "下载已取消"},
	fetch.Busy:             {"too many downloads are waiting; try again later", "等待中的下载过多，请稍后再试"},
	fetch.Panicked:         {"an internal error; the server's log has the details", "内部错误，详情见服务器日志"},
	fetch.WriteFailed:      {"the file could not be written; the server's log has the details", "写入文件失败，详情见服务器日志"},
	fetch.DiskFull:         {"the file could not be written: the disk is full", "写入文件失败: 磁盘已满"},
	fetch.CacheFull:        {"the file could not be written: the cache is full, and what is in it was returned too recently to be removed", "写入文件失败: 缓存已满，且其中的文件刚被返回，暂不能清除"},
	fetch.CacheTooSmall:    {"the file could not be written: it is larger than the whole cache may be", "写入文件失败: 文件超过缓存的总容量"},
}
