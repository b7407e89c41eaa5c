/* One function a command: argv[0] is the command's name. Each returns the exit
 * status: 0 yes or done, 1 the answer is no, 2 undecided. */
#ifndef TC_CMD_COMMANDS_H
#define TC_CMD_COMMANDS_H

enum tc_exit { TC_EXIT_YES = 0, TC_EXIT_NO = 1, TC_EXIT_UNDECIDED = 2 };

int tc_cmd_build(int argc, char **argv);
int tc_cmd_verify(int argc, char **argv);
int tc_cmd_report(int argc, char **argv);
int tc_cmd_image(int argc, char **argv);
int tc_cmd_attestation(int argc, char **argv);
int tc_cmd_doctor(int argc, char **argv);

/* Of `image`: argv[0] is the verb. */
int tc_cmd_image_inspect(int argc, char **argv);
int tc_cmd_image_measure(int argc, char **argv);
int tc_cmd_image_sign(int argc, char **argv);
int tc_cmd_image_assemble(int argc, char **argv);
int tc_cmd_image_build(int argc, char **argv);
int tc_cmd_image_lock(int argc, char **argv);
int tc_cmd_image_trust(int argc, char **argv);
int tc_cmd_image_list(int argc, char **argv);
int tc_cmd_image_pull(int argc, char **argv);
int tc_cmd_image_remove(int argc, char **argv);

#endif
