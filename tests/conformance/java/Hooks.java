import com.amazonaws.services.lambda.crac.Core;
import com.amazonaws.services.lambda.crac.Resource;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.ArrayList;
import java.util.List;

/** Says which of its SnapStart hooks have run. */
public class Hooks implements RequestHandler<Object, List<String>>, Resource {
    private final List<String> did = new ArrayList<>(List.of("init"));

    public Hooks() {
        Core.getGlobalContext().register(this);
    }

    @Override
    public void beforeCheckpoint(com.amazonaws.services.lambda.crac.Context<? extends Resource> context) {
        did.add("before");
    }

    @Override
    public void afterRestore(com.amazonaws.services.lambda.crac.Context<? extends Resource> context) {
        did.add("after");
    }

    @Override
    public List<String> handleRequest(Object event, Context context) {
        return did;
    }
}
