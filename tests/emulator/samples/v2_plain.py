import requests
import json

url = "https://api.minimax.chat/v1/text/chatcompletion_v2"
api_key = "请填写您的api_key"

payload = json.dumps(
    {
        "model": "替换成具体的模型名,例如:abab6.5s-chat",
        "messages": [
            {
                "role": "system",
                "name": "MM智能助理",  # 选填字段
                "content": "MM智能助理是一款由MiniMax自研的,没有调用其他产品的接口的大型语言模型。MiniMax是一家中国科技公司,一直致力于进行大模型相关的研究。",
            },
            {
                "role": "user",
                "name": "用户",  # 选填字段
                "content": "你会按照以下要求回复我的内容:“根据我给出的多段信息分别判断信息文本内容表达了哪类情绪,并给出判断的理由,判断理由务必精简、准确。”我的内容是:“1、学习三星堆正确拍照姿势,留下难忘回忆!2、太可爱啦!换了个小猫图标!3、当代社畜分类图鉴,你是哪种?”",
            },
        ],
        "tool_choice": "none",
        "stream": False,
        "max_tokens": 2048,
        "temperature": 0.1,
        "top_p": 0.9,
    }
)


headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}

response = requests.request("POST", url, headers=headers, data=payload)
print(response.text)
