"""Download one source distribution as it stands: ``python fetch_sdist.py NAME VERSION FILE``.

``pip download`` insists on building a source distribution's metadata, which for uvloop means compiling it for
minutes. So this asks pip's own finder, under the user's configuration (index, certificates, proxies), where
the file is, and copies it. Run it with a Python that has pip.
"""

import sys


def main(name: str, version: str, target: str) -> None:
    from pip._internal.commands import create_command

    command = create_command("download")
    options, _ = command.parse_args(["--no-deps", "--no-binary", name, f"{name}=={version}"])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options=options, session=session)
        links = [
            c.link
            for c in finder.find_all_candidates(name)
            if str(c.version) == version and not c.link.is_wheel
        ]
        if not links:
            sys.exit(f"the package index has no source distribution of {name} {version}")
        if links[0].is_file:
            with open(links[0].file_path, "rb") as found:
                data = found.read()
        else:
            response = session.get(links[0].url_without_fragment, headers={"Accept-Encoding": "identity"})
            response.raise_for_status()
            data = response.content
    with open(target, "wb") as file:
        file.write(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
