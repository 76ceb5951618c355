"""The text from which the vocabularies of the tokenizer fixtures are learnt: a few languages, code, numbers, emoji."""

PROSE = """
The old lighthouse stands on a rock, and the sea is all around it.
Every morning the keeper writes in the book what the wind was and which ships went by in the night.
There was a storm in the winter of 1894, and for seven days no boat could land on the island.
The children learn to read and to write; in the evening they play on the stairs of the tower.
What is the answer to this question? I think that the answer isn't in the book, but we'll see.
You don't have to say it again: they've heard it, she's heard it, I'd heard it, and we're all tired of it.
Please write a short story about a small robot who is learning how to paint the weather.
The capital of the country is a large city with many bridges, a museum and an international station.
You are a helpful assistant. Answer the question of the user in one or two sentences.
Information about the function is given below. The function returns the number of words in the text.
How many steps are there? There are thirty three steps, and then another one hundred and forty.
Machine learning models predict the next token from the tokens that came before it.
In general, the distribution over the vocabulary is computed with the softmax function.
It was the best of the summer and the worst of the harvest; everything was still to come.
She said: "Bring the lamp, the rope and the map!" and he said: "Which map?"
The quick brown fox jumps over the lazy dog, and the dog doesn't even look up.
Water boils at 100 degrees, freezes at 0 and is heaviest at 4 (at a pressure of 1 atmosphere).
Call 555-0199 between 09:30 and 17:45, or send a message to keeper@example.com before 2026-01-02.
Prices: $1,234.56, €99.90, £7, ¥12000; growth of 3.14% in 2024 and 2.72% in 2025.
1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 100 200 300 1000 2000 10000 65536 1234567890
THE TITLE OF THE BOOK IS WRITTEN IN CAPITAL LETTERS, AND IT'S NOT THE ONLY ONE THAT'S SO.
Der alte Leuchtturm steht auf einem Felsen, und das Meer ist überall um ihn herum.
Jeden Morgen schreibt der Wärter in das Buch, wie der Wind war und welche Schiffe vorbeigefahren sind.
Die Kinder lernen lesen und schreiben; am Abend spielen sie auf der Treppe des Turms.
Was ist die Antwort auf diese Frage? Ich glaube, dass die Antwort nicht in dem Buch steht.
Größe, Straße, Übermut, Äpfel und Öl: die Wörter mit Umlauten sind nicht schwieriger als die anderen.
Bitte schreibe eine kurze Geschichte über einen kleinen Roboter, der lernt, das Wetter zu malen.
Le vieux phare se dresse sur un rocher, et la mer est tout autour de lui.
Chaque matin le gardien écrit dans le livre quel était le vent et quels navires sont passés dans la nuit.
Les enfants apprennent à lire et à écrire ; le soir ils jouent dans l'escalier de la tour.
Quelle est la réponse à cette question ? Je pense que la réponse n'est pas dans le livre, mais à côté.
C'était l'été, où les élèves, déjà fatigués, rêvaient de la forêt et de la plage.
Écrivez une courte histoire d'un petit robot qui apprend à peindre le temps qu'il fait.
El viejo faro está sobre una roca, y el mar está alrededor. ¿Cuál es la respuesta? ¡No está en el libro!
Los niños aprenden a leer y a escribir; mañana volverán los barcos del señor Núñez.
Старый маяк стоит на скале, и море вокруг него со всех сторон.
Каждое утро смотритель пишет в книге, какой был ветер и какие корабли прошли ночью.
Дети учатся читать и писать; вечером они играют на лестнице башни.
Какой ответ на этот вопрос? Я думаю, что ответ не в книге, а в море.
Напиши короткий рассказ о маленьком роботе, который учится рисовать погоду.
古い灯台は岩の上に立っていて、周りはすべて海です。
毎朝、灯台守は風の様子と夜に通った船のことを本に書きます。
子供たちは読むことと書くことを学び、夜は塔の階段で遊びます。
この質問の答えは何ですか。答えは本の中にはないと思います。
小さなロボットが天気の描き方を学ぶ短い物語を書いてください。
カタカナとひらがなと漢字を使って、テストをします。
古老的灯塔立在岩石上,四周都是大海。
每天早上,看守人在书里写下风的情况,以及夜里经过的船只。
孩子们学习读书和写字;晚上他们在塔的楼梯上玩。
这个问题的答案是什么?我认为答案不在书里,而在海里。
请写一个关于小机器人学习画天气的短故事。你好,世界!
오래된 등대는 바위 위에 서 있고, 주위는 모두 바다입니다.
아이들은 읽고 쓰는 것을 배우고, 저녁에는 탑의 계단에서 놉니다.
المنارة القديمة تقف على صخرة، والبحر من حولها.
في كل صباح يكتب الحارس في الكتاب كيف كانت الريح وأي السفن مرت في الليل.
ما هو الجواب على هذا السؤال؟ أظن أن الجواب ليس في الكتاب.
पुराना प्रकाशस्तंभ एक चट्टान पर खड़ा है, और चारों ओर समुद्र है।
हर सुबह रखवाला किताब में लिखता है कि हवा कैसी थी और रात में कौन से जहाज़ गुज़रे।
इस प्रश्न का उत्तर क्या है? मुझे लगता है कि उत्तर किताब में नहीं है।
המגדלור הישן עומד על סלע, והים מסביבו. מה התשובה לשאלה הזאת?
Ο παλιός φάρος στέκεται σε έναν βράχο, και η θάλασσα είναι γύρω του.
ประภาคารเก่าตั้งอยู่บนหิน และทะเลอยู่รอบ ๆ
""".strip("\n").split("\n")

CODE = """
def keeper(wind, ships):
    return {"wind": wind, "ships": [ship.name for ship in ships if ship is not None]}
for i in range(10):
    print(f"step {i}: {values[i]:.3f}")
        if value == 0 or value != other_value:
            raise ValueError("the value is not valid")
class Lighthouse(object):
    def __init__(self, name, height=33):
        self.name = name
        self.height = height
fn main() { let answer: u32 = 42; println!("the answer is {}", answer); }
pub fn next(&mut self) -> Option<Self::Item> { self.items.get(self.index).cloned() }
int main(void) { for (int i = 0; i < 10; i++) { printf("%d\\n", i); } return 0; }
const value = await fetch("https://example.com/api/v1/items?id=7&name=sea"); // TODO: check the status
SELECT name, height FROM lighthouse WHERE height > 30 ORDER BY name;
<div class="title"><a href="https://www.example.org/">The title</a></div>
{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius", "days": 3}}
import os, sys, json  # standard library
#include <stdio.h>
/usr/local/bin/python3 -m venv .venv && echo "done" > result.txt
x = a + b - c * d / e % f; y <<= 2; z ??= x && !y || ~z; w = p->q[0];
========== ---------- ********** ////////// .......... __________ ~~~~~~~~~~
| name | height | year |
| ---- | ------ | ---- |
- one
- two
  - three
    - four
""".strip("\n").split("\n")

SIGNS = """
😀 😃 😄 🙂 🙂 🙂 🎉 🎉 🚀 🚀 ❤️ ❤️ 👍 👍 👍🏽 👩‍🚀 👨‍👩‍👧 🇫🇷 🇩🇪 ☀️ 🌧️
→ ← ↑ ↓ • … – — “quotes” ‘single’ «guillemets» © ® ™ ° ± × ÷ ≤ ≥ ≠ √ ∞ π
""".strip("\n").split("\n")

LINES = PROSE + CODE + SIGNS
