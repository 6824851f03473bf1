"""Every snippet of the guide, verbatim, in every way in. The guide itself stays outside the project."""
