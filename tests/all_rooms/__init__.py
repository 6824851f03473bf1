"""What crosses all rooms and must never bring the loop down, nor make it differ from asyncio: `tests.support.scenarios`
says how scenarios are compared.
"""
