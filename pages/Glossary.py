"""Every term of the lab in a few words, with its formula, its source and the page that shows it."""

import streamlit as st

from modadd import ui
from modadd.ui import glossary

p = ui.page("Glossary")
st.title("Glossary")
st.markdown(
    f"{len(glossary.TERMS)} terms, each with its formula and the page on which it can be seen. Throughout, p is the "
    "odd modulus, K = (p − 1)/2 the number of frequencies, x and y the numbers to add, j an answer."
)
ui.links.carry("term", "term", ui.links.words(60))
asked = st.text_input("Find a term", key="term", placeholder="grokking, IPR, ghost ...", max_chars=60)
found = glossary.find(asked)
if not found:
    st.info(f"No term has “{ui.plain(asked, 60)}” in its name or its words: try a shorter one, or empty the field.")

for group in glossary.GROUPS:
    terms = [term for term in found if term.group == group]
    if not terms:
        continue
    st.subheader(group)
    for term in terms:
        with st.container(border=True):
            st.markdown(f"**{term.name}**  \n{term.words}")
            if term.tex:
                st.latex(term.tex)
            with st.container(horizontal=True, vertical_alignment="center"):
                name, icon = ui.PAGES[term.page]
                st.page_link(term.page, label=f"See it on {name}", icon=icon, query_params={"p": str(p)})
                if term.source:
                    st.caption(term.source)

st.subheader("Sources")
st.markdown("\n".join(f"- {source}" for source in glossary.SOURCES))
