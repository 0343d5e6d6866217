curl --location -g --request POST 'https://api.minimax.chat/v1/text/chatcompletion?GroupId=${group_id}' \
--header 'Authorization;' \
--header 'Content-Type: application/json' \
--data-raw '{
    "model": "abab5.5-chat",
    "tokens_to_generate": 1024,
    "temperature": 0.9,
    "top_p": 0.95,
    "stream": false,
    "beam_width": 1,
    "reply_constraints": {
        "sender_type": "BOT",
        "sender_name": "MM智能助理"
    },
    "sample_messages": [],
    "plugins": [
        "plugin_web_search"
    ],
    "messages": [
        {
            "sender_type": "USER",
            "sender_name": "用户",
            "text": "齐天是谁"
        }
    ],
    "bot_setting": [
        {
            "bot_name": "MM智能助理",
            "content": "MM智能助理是一款由MiniMax自研的,没有调用其他产品的接口的大型语言模型。MiniMax是一家中国科技公司,一直致力于进行大模型相关的研究。"
        }
    ],
    "knowledge_base_param": {
        "knowledge_base_id":  ${knowledge_base_id}
    }
}'
