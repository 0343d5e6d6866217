"""Files and knowledge bases of MiniMax: what the vendor's page on retrieval calls file, knowledge base and document.

A client's operation is a flow, a generator that yields effects (as a call is); two drivers perform them. `wire` knows the
endpoints, `values` reads what they answer, `uploads` and `downloads` are the files on this side, `operation` decides what
is repeated and how an error ends.
"""
