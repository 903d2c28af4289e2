# What is installed besides programs and library: man pages and bash completion, both printed by the
# program from its table of commands; the documents.
set(man_dir ${CMAKE_BINARY_DIR}/man)
set(completion ${CMAKE_BINARY_DIR}/millrace.bash)
add_custom_command(OUTPUT ${man_dir}/millrace.1 ${completion}
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${man_dir}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${man_dir}
  COMMAND millrace man --output ${man_dir}
  COMMAND millrace completion > ${completion}
  DEPENDS millrace VERBATIM)
add_custom_target(millrace_documents ALL DEPENDS ${man_dir}/millrace.1 ${completion})

install(DIRECTORY ${man_dir}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${completion} DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME millrace)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")
install(FILES ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/schemas/ DESTINATION ${CMAKE_INSTALL_DATADIR}/millrace/schemas
        FILES_MATCHING PATTERN "*.schema.json" PATTERN "asyncapi.yaml" PATTERN "tools" EXCLUDE)
if(NOT MR_ENGINE_ONLY) # units of the system's service manager
  foreach(unit millrace-dispatcher.service millrace-worker.service)
    configure_file(${PROJECT_SOURCE_DIR}/compose/systemd/${unit}.in ${CMAKE_BINARY_DIR}/systemd/${unit} @ONLY)
    install(FILES ${CMAKE_BINARY_DIR}/systemd/${unit} DESTINATION lib/systemd/system)
  endforeach()
endif()
