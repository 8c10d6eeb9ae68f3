package packet

// common are strings that packets often have, so that most of them need no
// memory of their own.
var common = func() map[string]string {
	m := make(map[string]string)
	for _, s := range []string{
		// status
		"ok", "async", "failed",
		// post_type
		"message", "message_sent", "notice", "request", "meta_event",
		// meta_event_type
		"lifecycle", "heartbeat",
		// notice_type
		"group_upload", "group_admin", "group_decrease", "group_increase", "group_ban", "friend_add",
		"group_recall", "friend_recall", "notify", "bot_online", "bot_offline",
		// sub_type
		"enable", "disable", "connect", "friend", "group", "group_self", "other", "normal", "anonymous",
		"set", "unset", "leave", "kick", "kick_me", "approve", "invite", "ban", "lift_ban", "poke",
		"lucky_king", "honor", "add",
		// action
		"send_private_msg", "send_group_msg", "send_msg", "delete_msg", "get_msg", "get_forward_msg",
		"send_group_forward_msg", "send_private_forward_msg", "send_like", "set_group_kick",
		"set_group_ban", "set_group_whole_ban", "set_group_admin", "set_group_card", "set_group_name",
		"set_group_leave", "set_friend_add_request", "set_group_add_request", "get_login_info",
		"get_stranger_info", "get_friend_list", "get_group_info", "get_group_list",
		"get_group_member_info", "get_group_member_list", "get_image", "get_record", "can_send_image",
		"can_send_record", "get_status", "get_version_info", "get_supported_actions",
	} {
		m[s] = s
	}
	return m
}()
