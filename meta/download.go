package meta

import (
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// Download tells how a download has ended, however many calls waited for it.
type Download struct {
	// Result is that of a [fetch.Source], or [Refused] or [Failed].
	Result string

	URL      string // its scheme, host and path, or empty if there was nothing to fetch
	File     string // the absolute path, or empty if it failed
	Size     int64  // of the file, in bytes
	Duration time.Duration
	Tries    int    // 0 if it was there at once
	Reason   string // why it failed
}

// The results of downloads that bring no file.
const (
	Refused = "refused" // the destination may not be fetched from
	Failed  = "failed"  // for any other reason
)

// report tells log and operator how a download has ended.
func (d *Dispatcher) report(want wanted, start time.Time, file fetch.Result, err error) {
	ended := Download{
		Result:   string(file.Source),
		File:     file.Path,
		Size:     file.Size,
		Duration: time.Since(start),
		Tries:    file.Tries,
	}
	if want.URL != nil {
		ended.URL = fetch.Place(want.URL)
	}
	cause := zap.Skip()
	if err != nil {
		var failure *Error
		failure, cause = explain(err)
		ended.Result, ended.Reason = resultOf(err), failure.Error()
	}
	ended.log(d.opts.Logger, cause)
	if d.opts.Downloaded != nil {
		d.opts.Downloaded(ended)
	}
}

// resultOf returns the result of a download that failed.
func resultOf(err error) string {
	if failed, ok := errors.AsType[*fetch.Error](err); ok && failed.Kind == fetch.Refused {
		return Refused
	}
	return Failed
}

func (e *Download) log(logger *zap.Logger, cause zap.Field) {
	level, message := zapcore.InfoLevel, "downloaded file"
	switch e.Result {
	case Refused, Failed:
		level, message = zapcore.WarnLevel, "download failed"
	case string(fetch.Fresh):
		level = zapcore.DebugLevel // nothing was downloaded
	}
	c := logger.Check(level, message)
	if c == nil {
		return
	}
	fields := []zap.Field{zap.Duration("duration", e.Duration), zap.String("result", e.Result)}
	if e.URL != "" {
		fields = append(fields, zap.String("url", e.URL), zap.Int("tries", e.Tries))
	}
	if e.Reason != "" {
		fields = append(fields, zap.String("reason", e.Reason), cause)
	} else {
		fields = append(fields, zap.Int64("size", e.Size))
	}
	c.Write(fields...)
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
