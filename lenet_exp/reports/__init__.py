"""What a person sees. What several kinds of output share lies in this folder."""
