"""What is formatted on one side is formatted on the other, in that side's own way, and nothing else is."""


async def test_what_alice_formats_bob_reads_with_the_marks_of_his_side(world, link):
    for typed, html, styled in (
        ("**Now** or _never_", "<strong>Now</strong> or <em>never</em>", "*Now* or _never_"),
        ("- tea\n- milk", "<ul>\n<li>tea</li>\n<li>milk</li>\n</ul>", "• tea\n• milk"),
        ("> tea?\n\nyes", "<blockquote>\n<p>tea?</p>\n</blockquote>\n<p>yes</p>", "> tea?\n\nyes"),
        ("`a_b`", "<code>a_b</code>", "`a_b`"),
        ("```rust\nlet a;\n```", '<pre><code class="language-rust">let a;\n</code></pre>', "```rust\nlet a;\n```"),
        ("[here](https://a.example/x)", '<a href="https://a.example/x">here</a>', "here (https://a.example/x)"),
        ("שלום **עולם** 你好 👩🏽‍🚒", "שלום <strong>עולם</strong> 你好 👩🏽‍🚒", "שלום *עולם* 你好 👩🏽‍🚒"),
        ("x<script>", "x<script>alert(1)</script> <b onclick='alert(1)'>y</b>", "x *y*"),
        ("[now](javascript:alert(1)) **z**", '<a href="javascript:alert(1)">now</a> <b>z</b>', "now *z*"),
    ):
        await world.alice.says(link.room, typed, html)
        await world.bob.sees(styled, by="alice (a.example)")


async def test_what_bob_formats_alice_reads_as_html(world, link):
    for styled, words, html in (
        ("*Now* or _never_", "Now or never", "<p><strong>Now</strong> or <em>never</em></p>"),
        ("~gone~ `a_b`", "gone a_b", "<p><del>gone</del> <code>a_b</code></p>"),
        ("> tea?\nyes", "> tea?\n\nyes", "<blockquote>\n<p>tea?</p>\n</blockquote>\n<p>yes</p>"),
        ("*<b>* & _&lt;_", "<b> & &lt;", "<p><strong>&lt;b&gt;</strong> &amp; <em>&amp;lt;</em></p>"),
    ):
        await world.bob.says(link.muc, styled)
        await world.alice.sees(words, by="bob (b.example)")
        assert world.alice.contents[words]["formatted_body"] == html


async def test_a_mention_is_shown_as_the_name_in_it(world, link):
    """Alice mentions Bob by a pill with his ghost in it. Where it leads is for programs."""
    ghost = await world.alice.sees_member(link.room, "bob (b.example)")
    pill = f'<a href="https://matrix.to/#/{ghost}">Bob</a>: tea?'
    await world.alice.says(link.room, "Bob: tea?", pill)
    await world.bob.sees("Bob: tea?", by="alice (a.example)")
